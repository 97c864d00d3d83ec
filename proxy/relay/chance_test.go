package relay

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/frame"
)

// chance plays one connection by the dice. Each endpoint sends frames of all kinds in pieces of any
// size, and then ends in some way; in between we may decide to end it, and writes may fail.
type chance struct {
	*rand.Rand
	d *driver
}

func (c chance) message() message {
	switch c.IntN(8) {
	case 0:
		return ping("are you there")
	case 1:
		return pong("")
	case 2:
		return binaryOf(c.IntN(70_000))
	default:
		return text(c.IntN(300))
	}
}

// stream is what an endpoint sends in all, in pieces.
func (c chance) stream(frames func(...message) []byte) [][]byte {
	var all []byte
	for range c.IntN(6) {
		all = append(all, frames(c.message())...)
	}
	switch c.IntN(6) {
	case 0, 1:
		all = append(all, frames(closing(1000, "bye"))...)
	case 2:
		all = append(all, 0x83, 0) // breaks the protocol
	case 3:
		all = all[:len(all)-c.IntN(len(all)+1)] // ends anywhere
	}
	var pieces [][]byte
	for len(all) > 0 {
		n := 1 + c.IntN(len(all))
		pieces = append(pieces, all[:n])
		all = all[n:]
	}
	return pieces
}

func (c chance) last() event {
	return []event{{eof: true}, {eof: true, truncated: true}, {err: errReset}, {err: errTCP}, {err: errAlert}}[c.IntN(5)]
}

func (c chance) interfere() {
	d := c.d
	switch e := &d.ends[c.IntN(2)]; c.IntN(30) {
	case 0:
		e.writeErr = []error{errPipe, errReset, errSlow}[c.IntN(3)]
	case 1:
		d.stop(lifecycle.StopRequest{Cause: lifecycle.CauseDrain})
	case 2:
		d.stop(lifecycle.StopRequest{Cause: lifecycle.CauseForcedStop})
	case 3:
		d.session.fault(lifecycle.Direction(c.IntN(2)), c.IntN(2) == 0)
		d.run()
	case 4:
		if at := d.session.timer(time.Now(), stalls{}); !at.IsZero() {
			d.passes()
		}
	}
}

func (c chance) play() {
	d := c.d
	sends := [2][][]byte{c.stream(fromClient), c.stream(fromUpstream)}
	for len(sends[0])+len(sends[1]) > 0 && d.closed == nil {
		i := c.IntN(2)
		if len(sends[i]) == 0 {
			i = 1 - i
		}
		d.send(&d.ends[i], sends[i][0])
		sends[i] = sends[i][1:]
		c.interfere()
	}
	for i := range d.ends {
		if d.closed == nil && c.IntN(4) > 0 {
			d.happens(&d.ends[i], c.last())
		}
	}
	if d.closed == nil && !d.session.closing {
		d.stop(lifecycle.StopRequest{Cause: lifecycle.CauseIdleTimeout})
	}
}

var keepalives = []Keepalive{{}, {}, {Client: time.Minute, Timeout: time.Minute}, {Client: time.Minute, Upstream: time.Hour, Timeout: time.Second}}

func TestAnyOrder(t *testing.T) {
	const runs = 5000
	causes := make(map[lifecycle.Cause]int)
	for seed := range uint64(runs) {
		dice := rand.New(rand.NewPCG(seed, 7))
		mode := frame.Mode(dice.IntN(3))
		d := newDriver(t, Policy{FIN: dice.IntN(4) == 0, Keepalive: keepalives[dice.IntN(len(keepalives))]}, mode)
		chance{dice, d}.play()
		for ticks := 0; d.closed == nil && ticks < 3; ticks++ { // a broken leg's, then the closing's
			d.passes()
		}
		if d.closed == nil {
			t.Fatalf("seed %d: got an open connection, want an end: %+v", seed, d.session)
		}
		causes[d.closed.Cause]++
		if err := d.wrong(mode); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	for _, c := range []lifecycle.Cause{
		lifecycle.CauseClientClose, lifecycle.CauseUpstreamClose, lifecycle.CauseClientGone, lifecycle.CauseUpstreamGone,
		lifecycle.CauseClientReset, lifecycle.CauseUpstreamReset, lifecycle.CauseClientTimeout, lifecycle.CauseUpstreamTimeout,
		lifecycle.CauseTLSError, lifecycle.CauseSlowPeer, lifecycle.CauseProtocolError, lifecycle.CauseDrain,
		lifecycle.CauseForcedStop, lifecycle.CauseInternal, lifecycle.CauseIdleTimeout, lifecycle.CausePongTimeout,
	} {
		if causes[c] == 0 {
			t.Errorf("%s: got none in %d runs", c, runs)
		}
	}
}

// wrong is what of the outcome may never be.
func (d *driver) wrong(mode frame.Mode) error {
	c := *d.closed
	switch {
	case c.Cause == lifecycle.CauseNone || c.Initiator == lifecycle.InitiatorNone:
		return fmt.Errorf("got %+v, want a cause and an initiator", c)
	case c.Clean && c.FrameTruncated:
		return fmt.Errorf("got %+v, want clean or truncated", c)
	case c.Code == 1005 || c.Code == 1006 || c.Code == 1015:
		return fmt.Errorf("got code %d", c.Code)
	}
	if at := d.session.timer(time.Now(), stalls{}); d.session.over && !at.IsZero() {
		return fmt.Errorf("got a timer after the end: %s", at)
	}
	if mode != frame.ModeStrict {
		return nil
	}
	for i, leg := range []string{"client", "upstream"} {
		wire := describe(d.ends[i].got, i == 1)
		if strings.Contains(wire, "AFTER CLOSE") || strings.Contains(wire, "garbage") {
			return fmt.Errorf("%s got %q", leg, wire)
		}
		if inside := strings.Contains(wire, " of "); inside && c.Clean {
			return fmt.Errorf("%s got %q in a clean close", leg, wire)
		}
	}
	return nil
}
