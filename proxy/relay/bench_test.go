package relay

import (
	"io"
	"net"
	"runtime"
	"testing"

	"wsproxy/lifecycle"
)

// echo sends one message to the upstream and back, without allocating.
type echo struct {
	rig          *rig
	up, down     []byte
	upIn, downIn []byte
}

func newEcho(t testing.TB, e Engine, n network, size int) *echo {
	x := &echo{rig: start(t, e, n, Policy{}), up: fromClient(text(size)), down: fromUpstream(text(size))}
	x.upIn, x.downIn = make([]byte, len(x.up)), make([]byte, len(x.down))
	return x
}

func (x *echo) once() error {
	for _, way := range []struct {
		from, to net.Conn
		b, in    []byte
	}{{x.rig.client.conn, x.rig.upstream.conn, x.up, x.upIn}, {x.rig.upstream.conn, x.rig.client.conn, x.down, x.downIn}} {
		if _, err := way.from.Write(way.b); err != nil {
			return err
		}
		if _, err := io.ReadFull(way.to, way.in); err != nil {
			return err
		}
	}
	return nil
}

func (x *echo) end() {
	x.rig.record.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseForcedStop})
	x.rig.finish()
}

// The pool of this test never drops a buffer, as sync.Pool does under the race detector.
type hoard chan any

func (h hoard) Get() any {
	select {
	case b := <-h:
		return b
	default:
		return new(buffer)
	}
}

func (h hoard) Put(b any) {
	select {
	case h <- b:
	default:
	}
}

func TestMessagesAllocateNothing(t *testing.T) {
	all := []stage{{name: "goroutines", engine: func(testing.TB) Engine { return &Goroutines{buffers: make(hoard, 8)} }}}
	if loops != nil {
		all = append(all, stage{name: "loops", engine: loops})
	}
	for _, s := range all {
		for name, size := range map[string]int{"small": 64, "medium": 10_000} {
			t.Run(s.name+", "+name, func(t *testing.T) {
				s.run(t, func(t *testing.T, e Engine) {
					x := newEcho(t, e, onLoopback, size)
					defer x.end()
					const messages = 2000
					if got := mallocs(t, x, messages); got > messages/20 {
						t.Errorf("got %d allocations in %d messages, want none", got, messages)
					}
				})
			})
		}
	}
}

// mallocs is how many allocations the whole program makes while n messages go there and back.
func mallocs(t testing.TB, x *echo, n int) uint64 {
	var before, after runtime.MemStats
	for i := range n + 100 {
		if i == 100 { // everything has grown to its size
			runtime.ReadMemStats(&before)
		}
		if err := x.once(); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs
}

func BenchmarkEcho(b *testing.B) {
	for _, s := range realStages(b) {
		b.Run(s.name, func(b *testing.B) {
			e := s.engine(b)
			defer e.Close()
			x := newEcho(b, e, s.network, 64)
			defer x.end()
			b.ReportAllocs()
			for b.Loop() {
				if err := x.once(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
