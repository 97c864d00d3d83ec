package relay

import (
	"testing"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/frame"
)

// byUs is how a connection ends that we end; told is the code that the client got.
func byUs(c lifecycle.Cause, code int) lifecycle.Close {
	return lifecycle.Close{Cause: c, Initiator: lifecycle.InitiatorProxy, Code: code}
}

func cleanly(c lifecycle.Close) lifecycle.Close { c.Clean = true; return c }

// answers has both endpoints answer a Close of ours and end, the upstream first.
func answers(d *driver) {
	d.upstreamSends(closing(1001, ""))
	d.leaves(d.upstream())
	d.clientSends(closing(1000, ""))
	d.leaves(d.client())
}

// asked is a script: a request to stop, answered.
func asked(r lifecycle.StopRequest) func(d *driver) {
	return func(d *driver) {
		d.stop(r)
		answers(d)
	}
}

func TestProxyDecides(t *testing.T) {
	rows(t, []row{
		{
			name:   "idle_timeout",
			policy: Policy{Idle: time.Minute},
			script: func(d *driver) { d.passes(); answers(d) },
			client: "close 1001 idle, FIN", upstream: "close 1001 idle, FIN",
			want: cleanly(byUs(lifecycle.CauseIdleTimeout, 1001)),
		},
		{
			name:   "max_lifetime",
			policy: Policy{MaxLifetime: time.Hour, Idle: 2 * time.Hour},
			script: func(d *driver) { d.passes(); answers(d) },
			client: "close 1012 max lifetime, FIN", upstream: "close 1001 max lifetime, FIN",
			want: cleanly(byUs(lifecycle.CauseMaxLifetime, 1012)),
		},
		{
			name:   "drain",
			script: asked(lifecycle.StopRequest{Cause: lifecycle.CauseDrain}),
			client: "close 1012 drain, FIN", upstream: "close 1001 drain, FIN",
			want: cleanly(byUs(lifecycle.CauseDrain, 1012)),
		},
		{
			name:   "drain with words of its own",
			script: asked(lifecycle.StopRequest{Cause: lifecycle.CauseDrain, Code: 4000, Reason: "moving"}),
			client: "close 4000 moving, FIN", upstream: "close 1001 moving, FIN",
			want: cleanly(byUs(lifecycle.CauseDrain, 4000)),
		},
		{
			name:   "a code that may not be sent",
			script: asked(lifecycle.StopRequest{Cause: lifecycle.CauseDrain, Code: 1006}),
			client: "close, FIN", upstream: "close 1001 drain, FIN",
			want: cleanly(byUs(lifecycle.CauseDrain, 0)),
		},
		{
			name:   "reload",
			script: asked(lifecycle.StopRequest{Cause: lifecycle.CauseReload}),
			client: "close 1012 reload, FIN", upstream: "close 1001 reload, FIN",
			want: cleanly(byUs(lifecycle.CauseReload, 1012)),
		},
		{
			name:   "auth_expired",
			script: asked(lifecycle.StopRequest{Cause: lifecycle.CauseAuthExpired}),
			client: "close 4401 authentication expired, FIN", upstream: "close 1001 authentication expired, FIN",
			want: cleanly(byUs(lifecycle.CauseAuthExpired, 4401)),
		},
		{
			name:   "admin",
			script: asked(lifecycle.StopRequest{Cause: lifecycle.CauseAdmin}),
			client: "close 1008 admin, FIN", upstream: "close 1001 admin, FIN",
			want: cleanly(byUs(lifecycle.CauseAdmin, 1008)),
		},
		{
			name:   "admin with words of its own",
			script: asked(lifecycle.StopRequest{Cause: lifecycle.CauseAdmin, Code: 4003, Reason: "banned"}),
			client: "close 4003 banned, FIN", upstream: "close 1001 banned, FIN",
			want: cleanly(byUs(lifecycle.CauseAdmin, 4003)),
		},
		{
			name:   "internal",
			script: asked(lifecycle.StopRequest{Cause: lifecycle.CauseInternal}),
			client: "close 1011 internal error, FIN", upstream: "close 1001 internal error, FIN",
			want: cleanly(byUs(lifecycle.CauseInternal, 1011)),
		},
		{
			name:   "forced_stop",
			script: func(d *driver) { d.stop(lifecycle.StopRequest{Cause: lifecycle.CauseForcedStop}) },
			client: "RST", upstream: "RST",
			want: byUs(lifecycle.CauseForcedStop, lifecycle.NoCode),
		},
		{
			name: "forced_stop behind a drain",
			script: func(d *driver) {
				d.stop(lifecycle.StopRequest{Cause: lifecycle.CauseDrain})
				d.stop(lifecycle.StopRequest{Cause: lifecycle.CauseForcedStop})
			},
			client: "close 1012 drain, RST", upstream: "close 1001 drain, RST",
			want: byUs(lifecycle.CauseDrain, 1012),
		},
		{
			name: "drain that nobody answers",
			script: func(d *driver) {
				d.stop(lifecycle.StopRequest{Cause: lifecycle.CauseDrain})
				d.passes()
			},
			client: "close 1012 drain, RST", upstream: "close 1001 drain, RST",
			want: byUs(lifecycle.CauseDrain, 1012),
		},
		{
			name: "drain behind client_close",
			script: func(d *driver) {
				d.clientSends(closing(1000, ""))
				d.stop(lifecycle.StopRequest{Cause: lifecycle.CauseDrain})
				d.upstreamSends(closing(1000, ""))
				both(d)
			},
			client: "close 1000, FIN", upstream: "close 1000, FIN",
			want: lifecycle.Close{Cause: lifecycle.CauseClientClose, Initiator: lifecycle.InitiatorClient, Code: 1000, Clean: true},
		},
		{
			name: "a Close that crosses ours",
			script: func(d *driver) {
				d.stop(lifecycle.StopRequest{Cause: lifecycle.CauseDrain})
				d.clientSends(text(3), closing(4001, ""))
				answers(d)
			},
			client: "close 1012 drain, FIN", upstream: "close 1001 drain, FIN",
			want: cleanly(byUs(lifecycle.CauseDrain, 1012)),
		},
		{
			name: "data behind ours is dropped",
			script: func(d *driver) {
				d.stop(lifecycle.StopRequest{Cause: lifecycle.CauseDrain})
				d.clientSends(text(9), ping("x"), binaryOf(70000))
				d.upstreamSends(text(9))
				answers(d)
			},
			client: "close 1012 drain, FIN", upstream: "close 1001 drain, FIN",
			want: cleanly(byUs(lifecycle.CauseDrain, 1012)),
		},
		{
			name: "the upstream goes before the client answers",
			script: func(d *driver) {
				d.stop(lifecycle.StopRequest{Cause: lifecycle.CauseDrain})
				d.breaks(d.upstream(), errReset)
				d.clientSends(closing(1012, ""))
				d.leaves(d.client())
			},
			client: "close 1012 drain, FIN", upstream: "close 1001 drain, RST",
			want: byUs(lifecycle.CauseDrain, 1012),
		},
	})
}

func TestCloseWaitsForABoundary(t *testing.T) {
	large, rest := part(fromUpstream(binaryOf(100_000)), 60_000)
	truncated := func(c lifecycle.Close) lifecycle.Close { c.FrameTruncated = true; return c }
	drain := lifecycle.StopRequest{Cause: lifecycle.CauseDrain}
	rows(t, []row{
		{
			name: "drain inside a large frame",
			script: func(d *driver) {
				d.send(d.upstream(), large)
				d.stop(drain)
				d.send(d.upstream(), append(rest[:len(rest):len(rest)], fromUpstream(text(7))...))
				answers(d)
			},
			client: "binary 100000, close 1012 drain, FIN", upstream: "close 1001 drain, FIN",
			want: cleanly(byUs(lifecycle.CauseDrain, 1012)),
		},
		{
			name: "drain inside a frame of a fragmented message",
			script: func(d *driver) {
				first, rest := part(fromUpstream(text(100).unfinished()), 50)
				d.send(d.upstream(), first)
				d.stop(drain)
				d.send(d.upstream(), rest)
				d.send(d.upstream(), fromUpstream(message{op: frame.OpcodeContinuation, payload: pattern(3)}))
				answers(d)
			},
			client: "text 100, close 1012 drain, FIN", upstream: "close 1001 drain, FIN",
			want: cleanly(byUs(lifecycle.CauseDrain, 1012)),
		},
		{
			name: "drain inside a header: it was not passed on",
			script: func(d *driver) {
				first, rest := part(fromUpstream(binaryOf(200)), 3)
				d.send(d.upstream(), first)
				d.stop(drain)
				d.send(d.upstream(), rest)
				answers(d)
			},
			client: "close 1012 drain, FIN", upstream: "close 1001 drain, FIN",
			want: cleanly(byUs(lifecycle.CauseDrain, 1012)),
		},
		{
			name: "drain, and the frame never ends",
			script: func(d *driver) {
				d.send(d.upstream(), large)
				d.stop(drain)
				d.clientSends(text(1))
				d.passes()
			},
			client: "binary 59990 of 100000, RST", upstream: "close 1001 drain, RST",
			want: truncated(byUs(lifecycle.CauseDrain, 1001)),
		},
		{
			name: "drain, and the source ends inside the frame",
			script: func(d *driver) {
				d.send(d.upstream(), large)
				d.stop(drain)
				d.leaves(d.upstream())
			},
			client: "binary 59990 of 100000, RST", upstream: "close 1001 drain",
			want: truncated(byUs(lifecycle.CauseDrain, 1001)),
		},
		{
			name: "drain, and the source breaks inside the frame",
			script: func(d *driver) {
				d.send(d.upstream(), large)
				d.stop(drain)
				d.breaks(d.upstream(), errReset)
			},
			client: "binary 59990 of 100000, RST", upstream: "close 1001 drain, RST",
			want: truncated(byUs(lifecycle.CauseDrain, 1001)),
		},
		{
			name: "forced_stop inside a frame",
			script: func(d *driver) {
				d.send(d.upstream(), large)
				d.stop(lifecycle.StopRequest{Cause: lifecycle.CauseForcedStop})
			},
			client: "binary 59990 of 100000, RST", upstream: "RST",
			want: truncated(byUs(lifecycle.CauseForcedStop, lifecycle.NoCode)),
		},
		{
			name: "slow client inside a frame of its own",
			script: func(d *driver) {
				first, _ := part(fromClient(text(100)), 56)
				d.send(d.client(), first)
				d.client().writeErr = errSlow
				d.upstreamSends(text(3))
			},
			client: "RST", upstream: "text 50 of 100, RST",
			want: lifecycle.Close{
				Cause: lifecycle.CauseSlowPeer, Initiator: lifecycle.InitiatorProxy, Leg: lifecycle.LegClient,
				Code: lifecycle.NoCode, FrameTruncated: true,
			},
		},
		{
			name: "a fault of ours between frames",
			script: func(d *driver) {
				d.session.fault(lifecycle.Upstream, false)
				d.run()
				answers(d)
			},
			client: "close 1011 internal error, FIN", upstream: "close 1001 internal error",
			want: byUs(lifecycle.CauseInternal, 1011),
		},
		{
			name: "a fault of ours inside a frame",
			script: func(d *driver) {
				first, _ := part(fromClient(text(100)), 56)
				d.send(d.client(), first)
				d.session.fault(lifecycle.Upstream, false)
				d.run()
				answers(d)
			},
			client: "close 1011 internal error", upstream: "text 50 of 100, RST",
			want: truncated(byUs(lifecycle.CauseInternal, 1011)),
		},
		{
			name: "a fault of ours inside a write",
			script: func(d *driver) {
				d.session.fault(lifecycle.Upstream, true)
				d.run()
				answers(d)
			},
			client: "close 1011 internal error", upstream: "RST",
			want: truncated(byUs(lifecycle.CauseInternal, 1011)),
		},
	})
}
