package main

import (
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"wsproxy/internal/otlpsink"
)

const (
	outageQueue = 512 // spans that wait for the collector at most
	outageBatch = 64
	visitSpans  = 5 // of a connection: the request, connect, upgrade, transfer, close
)

// outage is a proxy with a small queue and a collector that takes its time, beside one that exports nothing.
type outage struct {
	*rig
	twin   *rig
	sink   *otlpsink.Sink
	visits int
}

// newOutage has an export given up after so many milliseconds.
func newOutage(t *testing.T, delay time.Duration, timeout string) *outage {
	t.Helper()
	for name, value := range map[string]string{
		"OTEL_BSP_MAX_QUEUE_SIZE": "512", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "64", "OTEL_BSP_SCHEDULE_DELAY": "20", "OTEL_EXPORTER_OTLP_TIMEOUT": timeout,
	} {
		t.Setenv(name, value)
	}
	o := &outage{sink: otlpsink.Start()}
	t.Cleanup(o.sink.Close)
	o.twin = newRig(t, nil)
	o.rig = newRig(t, func(cfg object) {
		cfg["telemetry"] = object{"otlp": object{"endpoint": o.sink.URL, "protocol": "http/protobuf"}, "logs": false, "metrics": object{"interval": "1h"}}
	})
	eventually(t, "the spans of the start have arrived", func() bool { return len(spansIn(t, o.sink)) > 0 && o.waiting() == 0 })
	o.sink.Delay.Store(int64(delay))
	return o
}

// waiting is how many spans are in the queue.
func (o *outage) waiting() int { return o.scraped().sum("otel_sdk_processor_span_queue_size") }

// lost is how many did not reach the collector, by what wsproxy itself says.
func (o *outage) lost() int {
	return o.scraped().sum("wsproxy_telemetry_dropped_total", `wsproxy_signal="traces"`)
}

// arrived is how many spans of connections did.
func (o *outage) arrived() (n int) {
	for _, x := range spansIn(o.t, o.sink) {
		if id := attributeOf(x, "wsproxy.connection.id"); id != nil || x.Name == "TCP connect" || x.Name == "websocket upgrade" {
			n++
		}
	}
	return n
}

// visit has n clients come and talk and go, one each by the proxy and by its twin in turn, some at once, and returns how long
// they took.
func (o *outage) visit(n int) (took, twins []time.Duration) {
	o.t.Helper()
	var mu sync.Mutex
	var visiting sync.WaitGroup
	for range 8 {
		visiting.Go(func() {
			for range n / 8 {
				mine, other := talk(o.t, o.first), talk(o.t, o.twin.first)
				mu.Lock()
				took, twins = append(took, mine), append(twins, other)
				mu.Unlock()
			}
		})
	}
	visiting.Wait()
	o.visits += n / 8 * 8
	return took, twins
}

// talk is a whole WebSocket with one message there and back.
func talk(t *testing.T, to net.Addr) time.Duration {
	began := time.Now()
	c, err := net.Dial("tcp", to.String())
	if err != nil {
		t.Error(err)
		return 0
	}
	defer c.Close()
	c.SetDeadline(began.Add(patience))
	for _, text := range []string{upgradeOf("/chat"), messageFrame} {
		if _, err := ask(c, text); err != nil {
			t.Error(err)
			return 0
		}
	}
	io.WriteString(c, closeFrame)
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Error(err)
	}
	return time.Since(began)
}

func middle(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// unharmed wants clients to be served as well as by the twin. Waiting for the collector, they would take as long as that.
func (o *outage) unharmed(took, twins []time.Duration) {
	o.t.Helper()
	mine, other := middle(took), middle(twins)
	o.t.Logf("half of the clients took at most %v, and %v where nothing is exported", mine, other)
	if mine > 3*other+200*time.Millisecond {
		o.t.Errorf("half of the clients took %v or longer, and %v where nothing is exported", mine, other)
	}
}

// addsUp wants each span to have arrived or to have been counted as lost.
func (o *outage) addsUp() {
	o.t.Helper()
	var arrived, lost int
	within(o.t, func() bool {
		arrived, lost = o.arrived(), o.lost()
		return arrived+lost == visitSpans*o.visits && o.waiting() == 0
	})
	if arrived+lost != visitSpans*o.visits {
		o.t.Errorf("got %d spans that arrived and %d that were lost, want %d together", arrived, lost, visitSpans*o.visits)
	}
	o.t.Logf("%d connections, %d spans arrived, %d were lost", o.visits, arrived, lost)
}

// A collector that is slower than what there is to tell gets as much as it can, and what it does not get is counted.
func TestSlowCollector(t *testing.T) {
	o := newOutage(t, 800*time.Millisecond, "20000")
	full := make(chan int)
	over := make(chan struct{})
	go func() {
		most := 0
		for {
			most = max(most, o.waiting())
			select {
			case <-over:
				full <- most
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	o.unharmed(o.visit(240))
	for o.lost() == 0 && o.visits < 4800 {
		o.visit(80)
	}
	close(over)
	o.sink.Delay.Store(0) // what waits need not be waited for
	if most := <-full; most > outageQueue {
		t.Errorf("got %d spans in the queue, want %d at most", most, outageQueue)
	}
	o.addsUp()
	if o.arrived() < outageQueue || o.lost() == 0 {
		t.Errorf("got %d that arrived and %d that were lost, want some of each", o.arrived(), o.lost())
	}
}

// A collector that takes nothing for a while costs its queue of memory and no more, keeps nobody waiting, and when it is back
// everything that is new arrives.
func TestHangingCollectorRecovers(t *testing.T) {
	o := newOutage(t, time.Hour, "1000")
	o.unharmed(o.visit(240)) // the queue is full
	if lost := o.lost(); lost < visitSpans*240-outageQueue-2*outageBatch {
		t.Errorf("got %d lost spans, want all but a queue of them", lost)
	}
	before := heap()
	o.visit(400)
	if grown := heap() - before; grown > 1<<20 { // 2,000 spans would be more
		t.Errorf("got %d bytes more after 400 connections, want the queue to be the limit", grown)
	} else {
		t.Logf("%d bytes more after 400 connections", grown)
	}
	o.sink.Delay.Store(0)
	eventually(t, "the queue is empty", func() bool { return o.waiting() == 0 })
	arrived, lost := o.arrived(), o.lost()
	o.visit(40)
	o.addsUp()
	if now := o.arrived(); now < arrived+visitSpans*40 || o.lost() > lost {
		t.Errorf("got %d more that arrived and %d more that were lost, want all %d", now-arrived, o.lost()-lost, visitSpans*40)
	}
}

// heap is what is in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what had finalizers
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
