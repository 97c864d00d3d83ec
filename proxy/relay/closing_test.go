package relay

import (
	"testing"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/frame"
)

// play is a line of the close table with real endpoints: what they do and see, in order.
type play struct {
	name   string
	policy Policy
	mode   frame.Mode
	script func(r *rig)
	want   lifecycle.Close
	tls    func(*lifecycle.Close) // what is different with TLS
}

var plays = []play{
	{
		name: "client_close",
		script: func(r *rig) {
			r.client.send(text(5), closing(1000, "bye"))
			r.upstream.expect("text 5", "close 1000 bye")
			r.upstream.send(text(3), closing(1000, ""))
			r.client.expect("text 3", "close 1000", "FIN")
			r.client.fin()
			r.upstream.expect("FIN")
			r.upstream.fin()
		},
		want: lifecycle.Close{Cause: lifecycle.CauseClientClose, Initiator: lifecycle.InitiatorClient, Code: 1000, Clean: true},
	},
	{
		name: "upstream_close",
		script: func(r *rig) {
			r.upstream.send(closing(4001, "kicked"))
			r.client.expect("close 4001 kicked")
			r.client.send(closing(4001, ""))
			r.client.expect("FIN")
			r.upstream.expect("close 4001")
			r.upstream.fin()
			r.client.fin()
			r.upstream.expect("FIN")
		},
		want: lifecycle.Close{Cause: lifecycle.CauseUpstreamClose, Initiator: lifecycle.InitiatorUpstream, Code: 4001, Clean: true},
	},
	{
		name: "client_gone",
		script: func(r *rig) {
			r.client.send(text(50_000))
			r.client.fin()
			r.upstream.expect("text 50000", "FIN")
			r.upstream.send(text(3))
			r.upstream.fin()
			r.client.expect("text 3", "FIN")
		},
		want: lifecycle.Close{Cause: lifecycle.CauseClientGone, Initiator: lifecycle.InitiatorClient, Code: lifecycle.NoCode},
	},
	{
		name: "client_gone inside a frame",
		script: func(r *rig) {
			r.client.write(fromClient(text(100))[:56])
			r.client.fin()
			r.upstream.expect("text 50 of 100", "RST")
			r.client.expect("FIN")
		},
		want: lifecycle.Close{
			Cause: lifecycle.CauseClientGone, Initiator: lifecycle.InitiatorClient, Code: lifecycle.NoCode, FrameTruncated: true,
		},
	},
	{
		name: "client_gone without close_notify",
		script: func(r *rig) {
			r.client.finTCP()
			r.upstream.expect("FIN")
			r.upstream.fin()
		},
		want: lifecycle.Close{Cause: lifecycle.CauseClientGone, Initiator: lifecycle.InitiatorClient, Code: lifecycle.NoCode},
		tls:  func(c *lifecycle.Close) { c.TLSTruncated = true },
	},
	{
		name: "upstream_gone",
		script: func(r *rig) {
			r.upstream.send(text(5))
			r.upstream.fin()
			r.client.expect("text 5", "close 1012 upstream gone")
			r.upstream.expect("FIN")
			r.client.send(closing(1012, ""))
			r.client.expect("FIN")
			r.client.fin()
		},
		want: lifecycle.Close{Cause: lifecycle.CauseUpstreamGone, Initiator: lifecycle.InitiatorUpstream, Code: 1012},
	},
	{
		name: "client_reset",
		script: func(r *rig) {
			r.client.send(text(5))
			r.upstream.expect("text 5")
			r.client.reset()
			r.upstream.expect("RST")
		},
		want: lifecycle.Close{Cause: lifecycle.CauseClientReset, Initiator: lifecycle.InitiatorClient, Code: lifecycle.NoCode},
	},
	{
		name: "upstream_reset",
		script: func(r *rig) {
			r.upstream.send(text(5))
			r.client.expect("text 5")
			r.upstream.reset()
			r.client.expect("close 1012 upstream reset")
			r.client.send(closing(1012, ""))
			r.client.expect("FIN")
			r.client.fin()
		},
		want: lifecycle.Close{Cause: lifecycle.CauseUpstreamReset, Initiator: lifecycle.InitiatorUpstream, Code: 1012},
	},
	{
		name: "protocol_error",
		script: func(r *rig) {
			r.client.write(fromUpstream(text(3)))
			r.client.expect("close 1002 mask_missing")
			r.upstream.expect("close 1001 peer broke the protocol")
			r.upstream.send(closing(1001, ""))
			r.upstream.fin()
			r.client.send(closing(1002, ""))
			r.client.fin()
			r.client.expect("FIN")
			r.upstream.expect("FIN")
		},
		want: lifecycle.Close{
			Cause: lifecycle.CauseProtocolError, Initiator: lifecycle.InitiatorProxy, Leg: lifecycle.LegClient, Code: 1002, Clean: true,
		},
	},
	{
		name: "drain inside a large frame",
		script: func(r *rig) {
			large := fromUpstream(binaryOf(70_000))
			r.upstream.write(large[:30_000])
			r.client.fill(30_000)
			r.record.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseDrain, Reason: "moving"})
			r.upstream.expect("close 1001 moving")
			r.upstream.write(large[30_000:])
			r.upstream.send(text(9), closing(1001, ""))
			r.upstream.fin()
			r.client.expect("binary 70000", "close 1012 moving")
			r.client.send(closing(1012, ""))
			r.client.expect("FIN")
			r.client.fin()
			r.upstream.expect("FIN")
		},
		want: lifecycle.Close{Cause: lifecycle.CauseDrain, Initiator: lifecycle.InitiatorProxy, Code: 1012, Clean: true},
	},
	{
		name:   "drain that nobody answers",
		policy: Policy{Close: 50 * time.Millisecond},
		script: func(r *rig) {
			r.record.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseDrain})
			r.client.expect("close 1012 drain", "RST")
			r.upstream.expect("close 1001 drain", "RST")
		},
		want: lifecycle.Close{Cause: lifecycle.CauseDrain, Initiator: lifecycle.InitiatorProxy, Code: 1012},
	},
	{
		name: "admin",
		script: func(r *rig) {
			r.record.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseAdmin, Code: 4003, Reason: "banned"})
			r.client.expect("close 4003 banned")
			r.upstream.expect("close 1001 banned")
			r.upstream.fin()
			r.client.expect("FIN")
			r.client.fin()
			r.upstream.expect("FIN")
		},
		want: lifecycle.Close{Cause: lifecycle.CauseAdmin, Initiator: lifecycle.InitiatorProxy, Code: 4003},
	},
	{
		name: "forced_stop",
		script: func(r *rig) {
			r.record.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseForcedStop})
			r.client.expect("RST")
			r.upstream.expect("RST")
		},
		want: lifecycle.Close{Cause: lifecycle.CauseForcedStop, Initiator: lifecycle.InitiatorProxy, Code: lifecycle.NoCode},
	},
	{
		name: "framing off",
		mode: frame.ModeOff,
		script: func(r *rig) {
			r.client.write(fromUpstream(closing(1000, "not looked at")))
			r.upstream.fin()
			r.client.expect("FIN")
			r.client.fin()
			r.upstream.fill(1 << 20)
			if got, want := describe(r.upstream.buf, false), "close 1000 not looked at"; got != want {
				r.t.Errorf("upstream: got %q, want %q", got, want)
			}
		},
		want: lifecycle.Close{Cause: lifecycle.CauseUpstreamGone, Initiator: lifecycle.InitiatorUpstream, Code: lifecycle.NoCode},
	},
}

func TestPlays(t *testing.T) {
	for _, s := range stages(t) {
		t.Run(s.name, func(t *testing.T) {
			for _, p := range plays {
				t.Run(p.name, func(t *testing.T) {
					s.run(t, func(t *testing.T, e Engine) {
						r := start(t, e, s.network, p.policy, framing(p.mode))
						p.script(r)
						want := p.want
						if s.tls && p.tls != nil {
							p.tls(&want)
						}
						if got := r.finish(); got != want {
							t.Errorf("got %+v, want %+v", got, want)
						}
					})
				})
			}
		})
	}
}

// A FIN inside a TLS record is an end without close_notify, no reset.
func TestEndInsideATLSRecord(t *testing.T) {
	for _, s := range stages(t) {
		if !s.tls {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			s.run(t, func(t *testing.T, e Engine) {
				r := start(t, e, s.network, Policy{})
				r.client.send(text(3))
				r.client.socket().Write([]byte{23, 3, 3, 0, 80, 1, 2, 3})
				r.client.finTCP()
				r.upstream.expect("text 3", "FIN")
				r.upstream.fin()
				want := lifecycle.Close{
					Cause: lifecycle.CauseClientGone, Initiator: lifecycle.InitiatorClient, Code: lifecycle.NoCode, TLSTruncated: true,
				}
				if got := r.finish(); got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
			})
		})
	}
}
