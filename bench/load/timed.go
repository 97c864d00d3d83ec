//go:build linux

package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"wsproxy/bench/proc"
	"wsproxy/bench/server"
	"wsproxy/bench/wire"
)

// bulk is how many streams small messages have beside them.
const bulk = 2

// bulkSize is the size of the streams' messages.
const bulkSize = 16 << 10

// rate sends small messages at fixed times, whether or not the earlier ones came back. A message's latency
// is from when it should have been sent to when the last packet of its answer came, so that what waits
// for something slow counts as slow.
func (w Workload) rate(ctx context.Context, e *Env) (Result, error) {
	path := w.echoPath()
	if w.Kind == KindBeside {
		path += "&urgent=1"
	}
	conns, err := e.Target.open(ctx, w.Connections, path, true)
	if err != nil {
		return nil, err
	}
	defer closeAll(conns)
	crew := newCrew(ctx)
	units := func(Reading) float64 { return math.NaN() }
	if w.Kind == KindBeside {
		both := Workload{Size: bulkSize, Up: true, Down: true}
		s, err := both.streams(ctx, crew, e, bulk)
		if err != nil {
			return nil, err
		}
		defer closeAll(s.conns)
		units = s.megabytes
		if w.Bad {
			bad, err := besides(ctx, crew, e)
			if err != nil {
				return nil, err
			}
			defer closeAll(bad)
		}
	}
	clock := newClock(w, time.Now().Add(10*time.Millisecond), e.Warm, e.Window)
	if w.Kind == KindRate {
		units = func(Reading) float64 { return clock.sent() }
	}
	for i, c := range conns {
		crew.start(func() error { return clock.receive(crew.ctx, c, i) })
	}
	crew.start(func() error { return clock.send(crew.ctx, conns) })
	r, err := crew.watch(e, units)
	if err == nil {
		err = crew.wait(e.Warm) // for the last answers
	}
	crew.cancel(errOver)
	closeAll(conns)
	if failed := crew.dismiss(); failed != nil {
		return nil, failed
	}
	if err != nil {
		return nil, err
	}
	r.latencies(clock.samples)
	return r, nil
}

// clock knows when each message is due: message k at begin + k·every, on connection k mod n.
type clock struct {
	w        Workload
	begin    time.Time
	every    time.Duration
	from, to time.Time // samples of what is due between these count

	mu      sync.Mutex
	samples []float64 // µs
}

func newClock(w Workload, begin time.Time, warm, window time.Duration) *clock {
	return &clock{w: w, begin: begin, every: time.Second / time.Duration(w.PerSecond), from: begin.Add(warm), to: begin.Add(warm + window)}
}

func (t *clock) due(k int) time.Time { return t.begin.Add(time.Duration(k) * t.every) }

// sent is how many messages are due by now.
func (t *clock) sent() float64 { return math.Floor(float64(time.Since(t.begin)) / float64(t.every)) }

// send sends until ctx ends. It sleeps in a thread of its own: timers of the runtime are late by up to a
// millisecond.
func (t *clock) send(ctx context.Context, conns []*conn) error {
	if t.w.Kind == KindBeside {
		defer proc.Urgent()()
	} else {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	frame := wire.Frame(wire.Binary, make([]byte, t.w.Size), true)
	for k := 0; ctx.Err() == nil; k++ {
		if d := time.Until(t.due(k)); d > 0 {
			pause := unix.NsecToTimespec(int64(d))
			if err := unix.Nanosleep(&pause, nil); err != nil && !errors.Is(err, unix.EINTR) {
				return fmt.Errorf("sleep: %w", err)
			}
		}
		if _, err := conns[k%len(conns)].Write(frame); err != nil {
			return err
		}
	}
	return nil
}

// receive takes the answers of connection i, which come in the order of its messages.
func (t *clock) receive(ctx context.Context, c *conn, i int) error {
	own := make([]float64, 0, int(t.to.Sub(t.begin)/t.every)/t.w.Connections+1)
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.samples = append(t.samples, own...)
	}()
	answer := make([]byte, len(wire.Frame(wire.Binary, make([]byte, t.w.Size), false)))
	for k := i; ctx.Err() == nil; k += t.w.Connections {
		if _, err := io.ReadFull(c, answer); err != nil {
			return unexpected(err)
		}
		if due := t.due(k); !due.Before(t.from) && due.Before(t.to) {
			own = append(own, micros(c.socket.at.Sub(due)))
		}
	}
	return nil
}

// burst has all clients pushed to at once, several times. A message's latency is from the server's write
// to the packet's arrival at the client.
func (w Workload) burst(ctx context.Context, e *Env) (Result, error) {
	conns, err := e.Target.open(ctx, w.Connections, server.PathPush, true)
	if err != nil {
		return nil, err
	}
	defer closeAll(conns)
	pusher, err := e.Server.dial(ctx, fmt.Sprintf("%s?size=%d", server.PathPusher, w.Size), false)
	if err != nil {
		return nil, err
	}
	defer pusher.Close()
	got := make(chan float64, len(conns))
	crew := newCrew(ctx)
	for _, c := range conns {
		crew.start(func() error { return w.pushed(crew.ctx, c, got) })
	}
	r, err := w.bursts(crew, e, pusher, got)
	crew.cancel(errOver)
	closeAll(conns)
	if failed := crew.dismiss(); failed != nil {
		return nil, failed
	}
	return r, err
}

// pushed takes what one client is pushed.
func (w Workload) pushed(ctx context.Context, c *conn, got chan<- float64) error {
	frame := make([]byte, len(wire.Frame(wire.Binary, make([]byte, w.Size), false)))
	for ctx.Err() == nil {
		if _, err := io.ReadFull(c, frame); err != nil {
			return unexpected(err)
		}
		at := len(frame) - w.Size + server.Stamp
		written := time.Unix(0, int64(binary.BigEndian.Uint64(frame[at:])))
		got <- micros(c.socket.at.Sub(written))
	}
	return nil
}

// bursts sends a burst to warm up and then those that count.
func (w Workload) bursts(crew *crew, e *Env, pusher *conn, got <-chan float64) (Result, error) {
	var samples []float64
	var before Reading
	var begun time.Time
	trigger := wire.Frame(wire.Binary, make([]byte, w.Size), true)
	for round := range 1 + w.Bursts {
		if err := crew.wait(e.Warm); err != nil {
			return nil, err
		}
		if round == 1 {
			var err error
			if before, err = e.Gauge.CPU(); err != nil {
				return nil, err
			}
			begun = time.Now()
		}
		if _, err := pusher.Write(trigger); err != nil {
			return nil, err
		}
		for range w.Connections {
			select {
			case s := <-got:
				if round > 0 {
					samples = append(samples, s)
				}
			case <-crew.ctx.Done():
				return nil, context.Cause(crew.ctx)
			}
		}
	}
	after, err := e.Gauge.CPU()
	if err != nil {
		return nil, err
	}
	r := costs(before, after, float64(len(samples)), time.Since(begun))
	r.latencies(samples)
	return r, nil
}
