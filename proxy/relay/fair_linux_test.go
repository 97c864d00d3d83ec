package relay

import (
	"bytes"
	"testing"

	"wsproxy/lifecycle"
)

// badPeers are connections that ask too much of a loop, or too little, each with what it does in a round.
type badPeers struct {
	deaf    *rehearsal // its client reads nothing, while its upstream sends all that it can
	trickle *rehearsal // sends a byte at a time of a large frame
	flood   *rehearsal // sends as much as there is room for, and its upstream takes it all
	slow    *rehearsal // sends all that it can both ways, and reads little
}

const slowly = 4096 // bytes a round

func (b *badPeers) act() {
	bulk := 1 << 20
	b.deaf.write(lifecycle.Downstream, bulk)
	b.trickle.write(lifecycle.Upstream, 1)
	b.flood.write(lifecycle.Upstream, bulk)
	b.slow.write(lifecycle.Upstream, bulk)
	b.slow.write(lifecycle.Downstream, bulk)
	b.flood.read(lifecycle.Upstream, bulk)
	b.trickle.read(lifecycle.Upstream, bulk)
	b.slow.read(lifecycle.Upstream, slowly)
	b.slow.read(lifecycle.Downstream, slowly)
}

// TestFairBesideBad has a fair connection in one loop with bad ones. What it sends is passed on in the very turn that its event
// is told in: that, and not a clock, bounds how long the fair one waits, as a turn is short (TestOrders). The others get what they
// can take, in each direction.
func TestFairBesideBad(t *testing.T) {
	const rounds, room = 200, 256 << 10
	fair := newRehearsal(t, room)
	defer fair.exit()
	bad := &badPeers{}
	for _, p := range []**rehearsal{&bad.deaf, &bad.trickle, &bad.flood, &bad.slow} {
		*p = join(t, fair.loop, room)
		defer (*p).leave()
		(*p).todo = [2][]byte{fromClient(binaryOf(4 << 20)), fromUpstream(binaryOf(4 << 20))}
	}
	bad.flood.todo[lifecycle.Upstream] = bytes.Repeat(fromClient(binaryOf(3000)), 20_000) // frames that are looked at
	passes := func(d lifecycle.Direction, message []byte) {
		t.Helper()
		fair.todo[d] = message
		fair.write(d, len(message))
		fair.look()
		fair.tell()
		if got := fair.read(d, len(message)+1); got != len(message) {
			t.Fatalf("%s: %d of %d bytes of the fair peer arrived in the turn", d, got, len(message))
		}
	}
	for range rounds {
		bad.act()
		passes(lifecycle.Upstream, fromClient(text(100)))
		passes(lifecycle.Downstream, fromUpstream(text(100)))
	}
	for _, c := range []struct {
		name string
		got  int
		want int
	}{
		{"bytes of the peer that sends one at a time", len(bad.trickle.got[lifecycle.Upstream]), rounds - 1},
		{"bytes of the flood", len(bad.flood.got[lifecycle.Upstream]), rounds * room / 8},
		{"bytes to a slow upstream", len(bad.slow.got[lifecycle.Upstream]), (rounds - 1) * slowly},
		{"bytes to a slow client", len(bad.slow.got[lifecycle.Downstream]), (rounds - 1) * slowly},
	} {
		if c.got < c.want {
			t.Errorf("%s: got %d, want at least %d", c.name, c.got, c.want)
		}
	}
	if sent := len(bad.deaf.sent[lifecycle.Downstream]); sent > 8*room {
		t.Errorf("%d bytes were taken of an upstream whose client reads nothing, want no more than buffers hold", sent)
	}
	bad.deaf.todo = [2][]byte{}
	bad.deaf.until("the deaf client hears", func() bool {
		return len(bad.deaf.got[lifecycle.Downstream]) == len(bad.deaf.sent[lifecycle.Downstream])
	})
}
