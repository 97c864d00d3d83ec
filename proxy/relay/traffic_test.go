package relay

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/frame"
)

// traffic is what one endpoint sends, and what must be counted of it.
type traffic struct {
	bytes []byte
	want  lifecycle.Counts
}

// newTraffic makes messages of the given sizes, some in fragments, with control frames in between.
func newTraffic(dice *rand.Rand, frames func(...message) []byte, sizes ...int) *traffic {
	t := &traffic{}
	for _, size := range sizes {
		t.add(dice, frames, size)
	}
	t.want.Bytes = uint64(len(t.bytes))
	return t
}

func (t *traffic) add(dice *rand.Rand, frames func(...message) []byte, size int) {
	kind, count := frame.OpcodeText, &t.want.Text
	if dice.IntN(2) == 0 {
		kind, count = frame.OpcodeBinary, &t.want.Binary
	}
	*count++
	t.want.MessageBytes += uint64(size)
	t.want.Sizes[bucket(size)]++
	payload := pattern(size)
	compressed := dice.IntN(4) == 0
	if compressed {
		t.want.Compressed++
	}
	for first := true; ; first = false {
		n := len(payload)
		if dice.IntN(3) == 0 {
			n = dice.IntN(n + 1)
		}
		m := message{op: kind, payload: payload[:n], rsv1: compressed && first, more: n < len(payload)}
		if !first {
			m.op = frame.OpcodeContinuation
		}
		t.bytes = append(t.bytes, frames(m)...)
		t.want.Frames++
		t.control(dice, frames)
		if payload = payload[n:]; !m.more {
			return
		}
	}
}

func (t *traffic) control(dice *rand.Rand, frames func(...message) []byte) {
	switch dice.IntN(5) {
	case 0:
		t.bytes = append(t.bytes, frames(ping(string(pattern(dice.IntN(126)))))...)
		t.want.Ping++
	case 1:
		t.bytes = append(t.bytes, frames(pong(""))...)
		t.want.Pong++
	default:
		return
	}
	t.want.Frames++
}

func bucket(size int) int {
	bounds := lifecycle.MessageSizeBounds()
	for i, b := range bounds {
		if uint64(size) <= b {
			return i
		}
	}
	return len(bounds)
}

// feed writes what is left of the traffic in pieces of up to a size.
func feed(c net.Conn, b []byte, dice *rand.Rand, most int) error {
	c.SetWriteDeadline(time.Now().Add(patience))
	for len(b) > 0 {
		n := min(len(b), 1+dice.IntN(most))
		if _, err := c.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// drain reads and compares; a small buffer makes a slow reader.
func drain(c net.Conn, want []byte, buffer int) error {
	c.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, buffer)
	for at := 0; at < len(want); {
		n, err := c.Read(b[:min(len(b), len(want)-at)])
		if !bytes.Equal(b[:n], want[at:at+n]) {
			return fmt.Errorf("bytes %d to %d differ from what was sent", at, at+n)
		}
		if at += n; err != nil && at < len(want) {
			return fmt.Errorf("after %d of %d bytes: %w", at, len(want), err)
		}
		if buffer < 1024 {
			runtime.Gosched()
		}
	}
	return nil
}

// exchange is traffic both ways at once, and then a clean close.
type exchange struct {
	up, down   *traffic
	early      int // so much of both came with the handshake
	upReader   int // the size of the reader's buffer
	downReader int
	pieces     int
	buffer     int // of the kernel's for every socket, if not 0: then somebody has to wait
}

func (x exchange) run(t testing.TB, e Engine, n network, seed uint64) {
	t.Helper()
	r := start(t, e, small(n, x.buffer), Policy{Close: patience}, func(p *Pair) {
		p.Deflate = true
		p.Early = [2][]byte{x.up.bytes[:x.early], x.down.bytes[:x.early]}
	})
	var all sync.WaitGroup
	do := func(what string, f func() error) {
		all.Go(func() {
			if err := f(); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	dice := func(i uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, i)) }
	do("client sends", func() error { return feed(r.client.conn, x.up.bytes[x.early:], dice(1), x.pieces) })
	do("upstream sends", func() error { return feed(r.upstream.conn, x.down.bytes[x.early:], dice(2), x.pieces) })
	do("upstream gets", func() error { return drain(r.upstream.conn, x.up.bytes, x.upReader) })
	do("client gets", func() error { return drain(r.client.conn, x.down.bytes, x.downReader) })
	all.Wait()
	x.close(r)
	for d, want := range []*lifecycle.Counts{&x.up.want, &x.down.want} {
		want.CloseFrames++
		want.Frames++
		want.Bytes += uint64(len(closeOf(lifecycle.Direction(d))))
		got := r.record.Flow(lifecycle.Direction(d)).Counts()
		got.Stall = 0
		if got != *want {
			t.Errorf("%s: got %+v, want %+v", lifecycle.Direction(d), got, *want)
		}
	}
}

// small gives all sockets small buffers; not too small, as loopback's segments have 64 KiB.
func small(n network, buffer int) network {
	if buffer == 0 {
		return n
	}
	return func(t testing.TB) wires {
		w := n(t)
		for _, c := range []net.Conn{w.client, w.clientLeg, w.upstreamLeg, w.upstream} {
			if over, ok := c.(*tls.Conn); ok {
				c = over.NetConn()
			}
			if leg, ok := c.(*Conn); ok {
				c = leg.Conn
			}
			c.(*net.TCPConn).SetReadBuffer(buffer)
			c.(*net.TCPConn).SetWriteBuffer(buffer)
		}
		return w
	}
}

func closeOf(d lifecycle.Direction) []byte {
	if d == lifecycle.Upstream {
		return fromClient(closing(1000, ""))
	}
	return fromUpstream(closing(1000, ""))
}

func (x exchange) close(r *rig) {
	r.t.Helper()
	r.client.send(closing(1000, ""))
	r.upstream.expect("close 1000")
	r.upstream.send(closing(1000, ""))
	r.client.expect("close 1000", "FIN")
	r.client.fin()
	r.upstream.expect("FIN")
	r.upstream.fin()
	if got := r.finish(); !got.Clean {
		r.t.Errorf("got %+v, want a clean close", got)
	}
}

func TestBytesAreIdentical(t *testing.T) {
	const kb, mb = 1 << 10, 1 << 20
	random := func(n, most int) func(*rand.Rand) []int {
		return func(dice *rand.Rand) (sizes []int) {
			for range n {
				sizes = append(sizes, dice.IntN(1+dice.IntN(most)))
			}
			return sizes
		}
	}
	fixed := func(sizes ...int) func(*rand.Rand) []int { return func(*rand.Rand) []int { return sizes } }
	for _, c := range []struct {
		name  string
		sizes func(*rand.Rand) []int
		x     exchange
		down  func(*rand.Rand) []int // nil: as sizes
	}{
		{"every bound", fixed(0, 1, 64, 65, 125, 126, 127, 128, 256, 257, kb, 64*kb-1, 64*kb, 64*kb+1, mb), exchange{pieces: 100_000}, nil},
		{"small, a byte at a time", random(100, 200), exchange{pieces: 1}, nil},
		{"small, in pieces", random(2000, 300), exchange{pieces: 500}, nil},
		{"mixed, in large pieces", random(100, 200*kb), exchange{pieces: mb}, nil},
		{"early", random(50, 1000), exchange{pieces: 1000, early: 4000}, nil},
		{"all of it early", fixed(10, 2000, 2000), exchange{pieces: 1, early: -1}, nil},
		{"two-way bulk, slow readers", random(60, 200*kb), exchange{pieces: mb, upReader: 900, downReader: 900, buffer: 128 * kb}, nil},
		{"64 MiB", fixed(64*mb, 3), exchange{pieces: 4 * mb, upReader: mb}, fixed(3)},
		{"64 MiB to the client", fixed(3), exchange{pieces: 4 * mb, downReader: mb}, fixed(64*mb, 3)},
	} {
		for _, s := range realStages(t) {
			t.Run(c.name+", "+s.name, func(t *testing.T) {
				s.run(t, func(t *testing.T, e Engine) {
					seed := uint64(len(c.name))
					dice := rand.New(rand.NewPCG(seed, 0))
					x := c.x
					x.up = newTraffic(dice, fromClient, c.sizes(dice)...)
					if c.down == nil {
						c.down = c.sizes
					}
					x.down = newTraffic(dice, fromUpstream, c.down(dice)...)
					if x.upReader == 0 {
						x.upReader = 64 * kb
					}
					if x.downReader == 0 {
						x.downReader = 64 * kb
					}
					if x.early < 0 {
						x.early = min(len(x.up.bytes), len(x.down.bytes))
					}
					x.run(t, e, s.network, seed)
				})
			})
		}
	}
}
