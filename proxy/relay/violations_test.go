package relay

import (
	"strings"
	"testing"

	"wsproxy/lifecycle"
	"wsproxy/proxy/frame"
)

func TestViolations(t *testing.T) {
	by := func(l lifecycle.Leg, code int) lifecycle.Close {
		return lifecycle.Close{Cause: lifecycle.CauseProtocolError, Initiator: lifecycle.InitiatorProxy, Leg: l, Code: code}
	}
	rows(t, []row{
		{
			name: "protocol_error by the client",
			script: func(d *driver) {
				d.send(d.client(), append(fromClient(text(1)), fromUpstream(text(2))...))
				answers(d)
			},
			client: "close 1002 mask_missing, FIN", upstream: "text 1, close 1001 peer broke the protocol, FIN",
			want: cleanly(by(lifecycle.LegClient, 1002)),
		},
		{
			name: "protocol_error by the upstream",
			script: func(d *driver) {
				d.send(d.upstream(), append(fromUpstream(text(1)), fromClient(text(2))...))
				answers(d)
			},
			client: "text 1, close 1012 peer broke the protocol, FIN", upstream: "close 1002 mask_unexpected, FIN",
			want: cleanly(by(lifecycle.LegUpstream, 1002)),
		},
		{
			name:   "protocol_error by the upstream, with fin",
			policy: Policy{FIN: true},
			script: func(d *driver) {
				d.send(d.upstream(), []byte{0x83, 0})
				d.upstreamSends(closing(1002, ""))
				both(d)
			},
			client: "FIN", upstream: "close 1002 reserved_opcode, FIN",
			want: by(lifecycle.LegUpstream, 1002),
		},
		{
			name: "protocol_error while the other direction is inside a frame",
			script: func(d *driver) {
				first, rest := part(fromUpstream(binaryOf(200)), 100)
				d.send(d.upstream(), first)
				d.send(d.client(), fromUpstream(text(2)))
				d.send(d.upstream(), rest)
				answers(d)
			},
			client: "binary 200, close 1002 mask_missing, FIN", upstream: "close 1001 peer broke the protocol, FIN",
			want: cleanly(by(lifecycle.LegClient, 1002)),
		},
		{
			name: "observed: a violation passes and is counted",
			mode: frame.ModeObserve,
			script: func(d *driver) {
				d.send(d.upstream(), []byte{0xf2, 1, 'x'})
				d.upstreamSends(closing(1000, ""))
				d.clientSends(closing(1000, ""))
				both(d)
				if got := d.session.conn.Flow(lifecycle.Downstream).Counts().Violations[frame.ViolationReservedBits]; got != 1 {
					d.t.Errorf("violations: got %d, want 1", got)
				}
			},
			client: "binary 1, close 1000, FIN", upstream: "close 1000, FIN",
			want: lifecycle.Close{Cause: lifecycle.CauseUpstreamClose, Initiator: lifecycle.InitiatorUpstream, Code: 1000, Clean: true},
		},
	})
}

// Where frames can't be seen none of ours is sent.
func TestFramesUnseen(t *testing.T) {
	lost := []byte{0x82, 0x7f, 0xff, 0, 0, 0, 0, 0, 0, 0, 'x', 'y'}
	drain := lifecycle.StopRequest{Cause: lifecycle.CauseDrain}
	raw := func(b []byte) string { return strings.TrimSuffix(describe(b, false), ", FIN") }
	t.Run("off", func(t *testing.T) {
		d := newDriver(t, Policy{}, frame.ModeOff)
		d.send(d.client(), []byte("any bytes at all"))
		d.send(d.upstream(), fromUpstream(closing(1000, "")))
		if d.session.closing {
			t.Error("got a closing because of a Close frame, want none")
		}
		d.stop(drain)
		d.send(d.client(), []byte("more"))
		both(d)
		if got, want := string(d.upstream().got), "any bytes at all"; got != want || !d.upstream().fin {
			t.Errorf("upstream: got %q (FIN %t), want %q and FIN", got, d.upstream().fin, want)
		}
		if got, want := raw(d.client().got), "close 1000"; got != want || !d.client().fin {
			t.Errorf("client: got %q (FIN %t), want %q and FIN", got, d.client().fin, want)
		}
		if got, want := *d.closed, byUs(lifecycle.CauseDrain, lifecycle.NoCode); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if got := d.session.conn.Flow(lifecycle.Upstream).Counts(); got.Frames != 0 || got.Bytes != 20 || got.Dropped != 4 {
			t.Errorf("got %d frames, %d bytes, %d dropped, want 0, 20, 4", got.Frames, got.Bytes, got.Dropped)
		}
	})
	t.Run("off, half-closed", func(t *testing.T) {
		d := newDriver(t, Policy{}, frame.ModeOff)
		d.leaves(d.upstream())
		d.send(d.client(), []byte("still"))
		if got := string(d.upstream().got); got != "still" || d.upstream().fin {
			t.Errorf("upstream: got %q (FIN %t), want still and no FIN", got, d.upstream().fin)
		}
		d.leaves(d.client())
		want := lifecycle.Close{Cause: lifecycle.CauseUpstreamGone, Initiator: lifecycle.InitiatorUpstream, Code: lifecycle.NoCode}
		if d.closed == nil || *d.closed != want {
			t.Errorf("got %+v, want %+v", d.closed, want)
		}
	})
	t.Run("lost", func(t *testing.T) {
		d := newDriver(t, Policy{}, frame.ModeObserve)
		d.send(d.upstream(), lost)
		d.stop(drain)
		d.clientSends(closing(1000, ""))
		both(d)
		if got := d.client(); string(got.got) != string(lost) || !got.fin {
			t.Errorf("client: got %x (FIN %t), want %x and FIN", got.got, got.fin, lost)
		}
		if got, want := d.upstream().wire(true), "close 1001 drain, FIN"; got != want {
			t.Errorf("upstream: got %q, want %q", got, want)
		}
		if got, want := *d.closed, byUs(lifecycle.CauseDrain, 1001); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}
