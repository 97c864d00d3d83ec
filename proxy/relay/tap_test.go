package relay

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/frame"
)

// told is a header as the tests below write it.
func told(f lifecycle.Frame) string {
	parts := []string{f.Direction.String(), f.Opcode, strconv.FormatUint(f.Length, 10)}
	for _, bit := range []struct {
		set  bool
		name string
	}{{f.Bits&0x80 == 0, "unfinished"}, {f.Bits&0x40 != 0, "rsv1"}, {f.Masked, "masked"}, {f.Own, "own"}} {
		if bit.set {
			parts = append(parts, bit.name)
		}
	}
	return strings.Join(parts, " ")
}

// waiting takes what waits in a tap.
func waiting(tap *lifecycle.Tap) (all []string) {
	for {
		select {
		case f := <-tap.Frames():
			all = append(all, told(f))
		default:
			return all
		}
	}
}

// TestTap has every engine tell of what passes, large frames included, and of our own Close frames.
func TestTap(t *testing.T) {
	onEveryStage(t, func(t *testing.T, e Engine, n network) {
		r := start(t, e, n, Policy{}, func(p *Pair) { p.Deflate = true })
		tap := r.record.Tap()
		defer tap.Close()
		compressed := binaryOf(300_000)
		compressed.rsv1 = true
		r.client.send(text(5).unfinished(), ping("p"), message{op: frame.OpcodeContinuation, payload: pattern(200)})
		r.upstream.expect("text 5", "ping 1", "continuation 200")
		var sending sync.WaitGroup
		sending.Go(func() { r.upstream.send(compressed, text(0)) }) // more than a socket in memory holds
		r.client.expect("binary 300000", "text 0")
		sending.Wait()
		r.record.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseAdmin, Code: 4000})
		r.client.expect("close 4000 admin")
		r.client.send(closing(4000, ""))
		r.client.fin()
		r.upstream.expect("close 1001 admin")
		r.upstream.send(closing(1001, ""))
		r.upstream.fin()
		r.finish()
		<-tap.Ended()
		got := waiting(tap)
		want := []string{
			"downstream binary 300000 rsv1", "downstream text 0", "downstream close 7 own", "downstream close 2",
			"upstream text 5 unfinished masked", "upstream ping 1 masked", "upstream continuation 200 masked",
			"upstream close 7 masked own", "upstream close 2 masked",
		}
		slices.Sort(got) // what goes one way is not in step with what goes the other
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestTapBeginsAnywhere(t *testing.T) {
	d := newDriver(t, Policy{Keepalive: Keepalive{Client: time.Minute}}, frame.ModeStrict)
	begun, rest := part(fromClient(text(300)), 100)
	d.send(d.client(), begun)
	d.send(d.upstream(), []byte{0x82}) // half a header
	tap := d.session.conn.Tap()
	d.send(d.client(), rest)
	d.clientSends(text(1))
	d.send(d.upstream(), []byte{0x03, 1})
	d.send(d.upstream(), []byte{2, 3})
	d.passes() // until the ping is due
	want := []string{"upstream text 1 masked", "downstream binary 3", "downstream ping 8 own"}
	if got := waiting(tap); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	tap.Close()
	d.clientSends(text(1))
	if got := waiting(tap); len(got) > 0 || d.session.conn.Tapped() {
		t.Errorf("got %q after the tap was closed, want nothing", got)
	}
}

// TestSlowTap never takes anything: the connection goes on, and what did not fit is counted.
func TestSlowTap(t *testing.T) {
	d := newDriver(t, Policy{}, frame.ModeStrict)
	tap := d.session.conn.Tap()
	const sent = 3000
	for range sent {
		d.clientSends(text(1))
	}
	if got := d.session.conn.Flow(lifecycle.Upstream).Text.Load(); got != sent {
		t.Errorf("got %d messages passed, want %d", got, sent)
	}
	if kept, dropped := uint64(len(waiting(tap))), tap.Dropped(); kept == 0 || kept+dropped != sent {
		t.Errorf("got %d kept and %d dropped, want %d together", kept, dropped, sent)
	}
}

func TestTapOfWhatHasNoFrames(t *testing.T) {
	d := newDriver(t, Policy{}, frame.ModeOff)
	tap := d.session.conn.Tap()
	d.clientSends(text(1), text(2))
	if got := waiting(tap); len(got) > 0 {
		t.Errorf("got %q, want nothing: frames are not looked at", got)
	}
}
