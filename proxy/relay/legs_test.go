package relay

import (
	"crypto/tls"
	"os"
	"syscall"
	"testing"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/frame"
)

func TestLegsBreak(t *testing.T) {
	of := func(c lifecycle.Cause, i lifecycle.Initiator, code int) lifecycle.Close {
		return lifecycle.Close{Cause: c, Initiator: i, Code: code}
	}
	clientReset := of(lifecycle.CauseClientReset, lifecycle.InitiatorClient, lifecycle.NoCode)
	upstreamReset := of(lifecycle.CauseUpstreamReset, lifecycle.InitiatorUpstream, 1012)
	truncated := func(c lifecycle.Close) lifecycle.Close { c.FrameTruncated = true; return c }
	on := func(c lifecycle.Close, l lifecycle.Leg) lifecycle.Close { c.Leg = l; return c }
	answered := func(d *driver) {
		d.clientSends(closing(1012, ""))
		d.leaves(d.client())
	}
	rows(t, []row{
		{
			name: "client_reset",
			script: func(d *driver) {
				d.clientSends(text(1))
				d.breaks(d.client(), errReset)
			},
			client: "RST", upstream: "text 1, RST", want: clientReset,
		},
		{
			name: "client_reset inside a frame",
			script: func(d *driver) {
				first, _ := part(fromClient(text(100)), 56)
				d.send(d.client(), first)
				d.breaks(d.client(), errReset)
			},
			client: "RST", upstream: "text 50 of 100, RST", want: truncated(clientReset),
		},
		{
			name: "client_reset, found by writing",
			script: func(d *driver) {
				d.client().writeErr = errReset
				d.upstreamSends(text(3), text(3))
				d.leaves(d.client())
			},
			client: "RST", upstream: "RST", want: clientReset,
		},
		{
			name: "client_reset, found by writing, and nothing is read",
			script: func(d *driver) {
				d.client().writeErr = errReset
				d.upstreamSends(text(3))
				d.passes()
			},
			client: "RST", upstream: "RST", want: clientReset,
		},
		{
			name: "client_reset, found by writing twice",
			script: func(d *driver) {
				d.session.notWritten(lifecycle.LegClient, errReset)
				d.session.notWritten(lifecycle.LegClient, errPipe) // says less
				d.leaves(d.client())
			},
			client: "RST", upstream: "RST", want: clientReset,
		},
		{
			name: "upstream_reset",
			script: func(d *driver) {
				d.upstreamSends(text(1))
				d.breaks(d.upstream(), errReset)
				answered(d)
			},
			client: "text 1, close 1012 upstream reset, FIN", upstream: "RST", want: upstreamReset,
		},
		{
			name: "upstream_reset inside a frame",
			script: func(d *driver) {
				first, _ := part(fromUpstream(text(100)), 52)
				d.send(d.upstream(), first)
				d.breaks(d.upstream(), errReset)
			},
			client: "text 50 of 100, RST", upstream: "RST",
			want: truncated(of(lifecycle.CauseUpstreamReset, lifecycle.InitiatorUpstream, lifecycle.NoCode)),
		},
		{
			name:   "upstream_reset with fin",
			policy: Policy{FIN: true},
			script: func(d *driver) {
				d.breaks(d.upstream(), errReset)
				d.leaves(d.client())
			},
			client: "FIN", upstream: "RST", want: of(lifecycle.CauseUpstreamReset, lifecycle.InitiatorUpstream, lifecycle.NoCode),
		},
		{
			name:   "client_timeout",
			script: func(d *driver) { d.breaks(d.client(), errTCP) },
			client: "RST", upstream: "RST",
			want: of(lifecycle.CauseClientTimeout, lifecycle.InitiatorClient, lifecycle.NoCode),
		},
		{
			name: "upstream_timeout",
			script: func(d *driver) {
				d.breaks(d.upstream(), os.NewSyscallError("read", syscall.EHOSTUNREACH))
				answered(d)
			},
			client: "close 1012 upstream reset, FIN", upstream: "RST",
			want: of(lifecycle.CauseUpstreamTimeout, lifecycle.InitiatorUpstream, 1012),
		},
		{
			name: "tls_error of the client",
			script: func(d *driver) {
				d.breaks(d.client(), errAlert)
				d.upstreamSends(text(1), closing(1001, ""))
				d.leaves(d.upstream())
			},
			client: "RST", upstream: "close 1001 peer lost",
			want: on(of(lifecycle.CauseTLSError, lifecycle.InitiatorClient, 1001), lifecycle.LegClient),
		},
		{
			name: "tls_error of the upstream",
			script: func(d *driver) {
				d.breaks(d.upstream(), tls.RecordHeaderError{Msg: "first record does not look like TLS"})
				answered(d)
			},
			client: "close 1012 peer lost, FIN", upstream: "RST",
			want: on(of(lifecycle.CauseTLSError, lifecycle.InitiatorUpstream, 1012), lifecycle.LegUpstream),
		},
		{
			name: "slow_peer is the client",
			script: func(d *driver) {
				d.client().writeErr = errSlow
				d.upstreamSends(text(3))
				d.upstreamSends(closing(1001, ""))
				d.leaves(d.upstream())
			},
			client: "RST", upstream: "close 1001 peer lost",
			want: on(of(lifecycle.CauseSlowPeer, lifecycle.InitiatorProxy, 1001), lifecycle.LegClient),
		},
		{
			name: "slow_peer is the upstream",
			script: func(d *driver) {
				d.upstream().writeErr = errSlow
				d.clientSends(text(3))
				answered(d)
			},
			client: "close 1012 peer lost, FIN", upstream: "RST",
			want: on(of(lifecycle.CauseSlowPeer, lifecycle.InitiatorProxy, 1012), lifecycle.LegUpstream),
		},
	})
}

// A patient closing, as after a client's FIN, does not wait for its end when a leg broke.
func TestBrokenLegEndsPatience(t *testing.T) {
	p := Policy{HalfClose: time.Hour, Close: time.Second}
	d := newDriver(t, p, frame.ModeStrict)
	d.client().writeErr = errPipe
	d.upstreamSends(text(3))
	d.leaves(d.client())
	if got := time.Until(d.session.deadline); got > time.Second {
		t.Errorf("found by writing: got %s left, want at most 1s", got)
	}
	d = newDriver(t, p, frame.ModeStrict)
	d.leaves(d.client())
	d.client().writeErr = errPipe
	d.upstreamSends(text(3))
	if got := time.Until(d.session.deadline); got > time.Second {
		t.Errorf("got %s left, want at most 1s", got)
	}
	d.upstreamSends(text(3))
	d.passes()
	if got, want := d.upstream().wire(true), "FIN, RST"; got != want {
		t.Errorf("upstream: got %q, want %q", got, want)
	}
}
