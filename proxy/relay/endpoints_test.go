package relay

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"

	"wsproxy/lifecycle"
	"wsproxy/proxy/frame"
)

// row is a line of the close table: what happens, what each leg gets, and what is told about it.
type row struct {
	name     string
	policy   Policy
	mode     frame.Mode
	script   func(d *driver)
	client   string // what the client gets
	upstream string
	want     lifecycle.Close
}

func (r row) run(t *testing.T) {
	d := newDriver(t, r.policy, r.mode)
	r.script(d)
	if got := d.client().wire(false); got != r.client {
		t.Errorf("client: got %q, want %q", got, r.client)
	}
	if got := d.upstream().wire(true); got != r.upstream {
		t.Errorf("upstream: got %q, want %q", got, r.upstream)
	}
	if d.closed == nil {
		t.Fatal("got a connection that is still open")
	}
	if *d.closed != r.want {
		t.Errorf("close: got %+v, want %+v", *d.closed, r.want)
	}
	if got := d.session.conn.Closing(); got != r.want {
		t.Errorf("record: got %+v, want %+v", got, r.want)
	}
}

func rows(t *testing.T, all []row) {
	for _, r := range all {
		t.Run(r.name, r.run)
	}
}

var (
	errReset = &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	errPipe  = os.NewSyscallError("write", syscall.EPIPE)
	errTCP   = os.NewSyscallError("read", syscall.ETIMEDOUT)
	errAlert = &net.OpError{Op: "remote error", Err: errors.New("tls: bad record MAC")}
)

// both has both endpoints end their sides.
func both(d *driver) {
	d.leaves(d.upstream())
	d.leaves(d.client())
}

func TestEndpointsClose(t *testing.T) {
	clean := func(c lifecycle.Cause, i lifecycle.Initiator, code int) lifecycle.Close {
		return lifecycle.Close{Cause: c, Initiator: i, Code: code, Clean: true}
	}
	byClient := clean(lifecycle.CauseClientClose, lifecycle.InitiatorClient, 1000)
	byUpstream := clean(lifecycle.CauseUpstreamClose, lifecycle.InitiatorUpstream, 4001)
	unclean := func(c lifecycle.Close) lifecycle.Close { c.Clean = false; return c }
	rows(t, []row{
		{
			name: "client_close, answered",
			script: func(d *driver) {
				d.clientSends(text(5), closing(1000, "bye"))
				d.upstreamSends(text(3), closing(1000, ""))
				both(d)
			},
			client: "text 3, close 1000, FIN", upstream: "text 5, close 1000 bye, FIN", want: byClient,
		},
		{
			name: "client_close, and the client's socket closed with it",
			script: func(d *driver) {
				d.clientSends(closing(1000, ""))
				d.leaves(d.client())
				d.upstreamSends(closing(1000, ""))
				d.leaves(d.upstream())
			},
			client: "close 1000, FIN", upstream: "close 1000, FIN", want: byClient,
		},
		{
			name: "client_close without a code",
			script: func(d *driver) {
				d.clientSends(closing(0, ""))
				d.upstreamSends(closing(0, ""))
				both(d)
			},
			client: "close, FIN", upstream: "close, FIN",
			want: clean(lifecycle.CauseClientClose, lifecycle.InitiatorClient, 0),
		},
		{
			name: "client_close, data behind it",
			script: func(d *driver) {
				d.clientSends(closing(1000, ""), text(9), ping("x"))
				d.clientSends(text(1))
				d.upstreamSends(closing(1000, ""), text(9))
				both(d)
			},
			client: "close 1000, FIN", upstream: "close 1000, FIN", want: byClient,
		},
		{
			name: "client_close, the upstream ends without an answer",
			script: func(d *driver) {
				d.clientSends(closing(1000, ""))
				both(d)
			},
			client: "FIN", upstream: "close 1000, FIN", want: unclean(byClient),
		},
		{
			name: "client_close, never answered",
			script: func(d *driver) {
				d.clientSends(closing(1000, ""))
				d.passes()
			},
			client: "RST", upstream: "close 1000, RST", want: unclean(byClient),
		},
		{
			name: "client_close, the upstream is reset",
			script: func(d *driver) {
				d.clientSends(closing(1000, ""))
				d.breaks(d.upstream(), errReset)
				d.leaves(d.client())
			},
			client: "FIN", upstream: "close 1000, RST", want: unclean(byClient),
		},
		{
			name: "client_close, the upstream dies inside a frame",
			script: func(d *driver) {
				d.clientSends(closing(1000, ""))
				whole, _ := part(fromUpstream(text(100)), 50)
				d.send(d.upstream(), whole)
				d.leaves(d.upstream())
			},
			client: "text 48 of 100, RST", upstream: "close 1000",
			want: lifecycle.Close{Cause: lifecycle.CauseClientClose, Initiator: lifecycle.InitiatorClient, Code: 1000, FrameTruncated: true},
		},
		{
			name: "client_close, the upstream answers with a violation",
			script: func(d *driver) {
				d.clientSends(closing(1000, ""))
				d.send(d.upstream(), []byte{0x83, 0})
				d.upstreamSends(text(1), closing(1000, ""))
				both(d)
			},
			client: "FIN", upstream: "close 1000, FIN", want: unclean(byClient),
		},
		{
			name: "upstream_close, answered",
			script: func(d *driver) {
				d.upstreamSends(text(1), closing(4001, "kicked"))
				d.clientSends(text(2), closing(4001, ""))
				both(d)
			},
			client: "text 1, close 4001 kicked, FIN", upstream: "text 2, close 4001, FIN", want: byUpstream,
		},
		{
			name: "upstream_close, and its socket closed with it",
			script: func(d *driver) {
				d.upstreamSends(closing(4001, ""))
				d.leaves(d.upstream())
				d.clientSends(closing(4001, ""))
				d.leaves(d.client())
			},
			client: "close 4001, FIN", upstream: "close 4001, FIN", want: byUpstream,
		},
		{
			name: "upstream_close, never answered",
			script: func(d *driver) {
				d.upstreamSends(closing(4001, ""))
				d.passes()
			},
			client: "close 4001, RST", upstream: "RST", want: unclean(byUpstream),
		},
		{
			name: "upstream_close seen behind a write that failed",
			script: func(d *driver) {
				d.upstream().writeErr = errPipe
				d.clientSends(text(5))
				d.upstreamSends(closing(4001, ""))
				d.leaves(d.upstream())
				d.clientSends(closing(4001, ""))
				d.leaves(d.client())
			},
			client: "close 4001, FIN", upstream: "RST", want: unclean(byUpstream),
		},
		{
			name: "both at once",
			script: func(d *driver) {
				d.client().queue = []event{{data: fromClient(closing(1000, "c"))}}
				d.upstream().queue = []event{{data: fromUpstream(closing(4001, "u"))}}
				d.run()
				both(d)
			},
			client: "close 4001 u, FIN", upstream: "close 1000 c, FIN", want: byClient,
		},
	})
}

func TestEndpointsGo(t *testing.T) {
	gone := lifecycle.Close{Cause: lifecycle.CauseClientGone, Initiator: lifecycle.InitiatorClient, Code: lifecycle.NoCode}
	lost := lifecycle.Close{Cause: lifecycle.CauseUpstreamGone, Initiator: lifecycle.InitiatorUpstream, Code: 1012}
	with := func(c lifecycle.Close, change func(*lifecycle.Close)) lifecycle.Close { change(&c); return c }
	truncated := func(c *lifecycle.Close) { c.FrameTruncated = true }
	mute := func(c *lifecycle.Close) { c.Code = lifecycle.NoCode }
	rows(t, []row{
		{
			name: "client_gone, the upstream still sends",
			script: func(d *driver) {
				d.clientSends(text(5))
				d.leaves(d.client())
				d.upstreamSends(text(3), text(4))
				d.leaves(d.upstream())
			},
			client: "text 3, text 4, FIN", upstream: "text 5, FIN", want: gone,
		},
		{
			name: "client_gone, the upstream says goodbye",
			script: func(d *driver) {
				d.leaves(d.client())
				d.upstreamSends(closing(1001, ""))
				d.leaves(d.upstream())
			},
			client: "close 1001, FIN", upstream: "FIN", want: with(gone, func(c *lifecycle.Close) { c.Code = 1001 }),
		},
		{
			name: "client_gone, the upstream never ends",
			script: func(d *driver) {
				d.leaves(d.client())
				d.upstreamSends(text(3))
				d.passes()
			},
			client: "text 3, RST", upstream: "FIN, RST", want: gone,
		},
		{
			name: "client_gone inside a frame",
			script: func(d *driver) {
				first, _ := part(fromClient(text(100)), 56)
				d.send(d.client(), first)
				d.leaves(d.client())
			},
			client: "FIN", upstream: "text 50 of 100, RST", want: with(gone, truncated),
		},
		{
			name: "client_gone inside a header",
			script: func(d *driver) {
				first, _ := part(fromClient(text(100)), 5)
				d.clientSends(text(1))
				d.send(d.client(), first)
				d.leaves(d.client())
				d.leaves(d.upstream())
			},
			client: "FIN", upstream: "text 1, FIN", want: with(gone, truncated),
		},
		{
			name: "client_gone without close_notify",
			script: func(d *driver) {
				d.happens(d.client(), event{eof: true, truncated: true})
				d.leaves(d.upstream())
			},
			client: "FIN", upstream: "FIN", want: with(gone, func(c *lifecycle.Close) { c.TLSTruncated = true }),
		},
		{
			name: "client_gone, found by writing: its socket was closed",
			script: func(d *driver) {
				d.client().writeErr = errPipe
				d.upstreamSends(text(3))
				d.clientSends(text(2))
				d.leaves(d.client())
				d.leaves(d.upstream())
			},
			client: "RST", upstream: "text 2, FIN", want: gone,
		},
		{
			name: "upstream_gone",
			script: func(d *driver) {
				d.upstreamSends(text(5))
				d.leaves(d.upstream())
				d.clientSends(text(9), closing(1012, ""))
				d.leaves(d.client())
			},
			client: "text 5, close 1012 upstream gone, FIN", upstream: "FIN", want: lost,
		},
		{
			name: "upstream_gone, the client does not answer",
			script: func(d *driver) {
				d.leaves(d.upstream())
				d.passes()
			},
			client: "close 1012 upstream gone, RST", upstream: "FIN, RST", want: lost,
		},
		{
			name: "upstream_gone inside a frame",
			script: func(d *driver) {
				first, _ := part(fromUpstream(text(100)), 52)
				d.send(d.upstream(), first)
				d.leaves(d.upstream())
			},
			client: "text 50 of 100, RST", upstream: "FIN", want: with(with(lost, truncated), mute),
		},
		{
			name: "upstream_gone inside a fragmented message, between frames",
			script: func(d *driver) {
				d.upstreamSends(text(5).unfinished())
				d.leaves(d.upstream())
				d.leaves(d.client())
			},
			client: "text 5, close 1012 upstream gone", upstream: "FIN", want: lost,
		},
		{
			name: "upstream_gone while the client is inside a frame",
			script: func(d *driver) {
				first, rest := part(fromClient(text(100)), 56)
				d.send(d.client(), first)
				d.leaves(d.upstream())
				d.send(d.client(), rest)
				d.clientSends(closing(1012, ""))
				d.leaves(d.client())
			},
			client: "close 1012 upstream gone, FIN", upstream: "text 50 of 100, FIN", want: lost,
		},
		{
			name: "upstream_gone while the client is inside a frame that never ends",
			script: func(d *driver) {
				first, _ := part(fromClient(text(100)), 56)
				d.send(d.client(), first)
				d.leaves(d.upstream())
				d.passes()
			},
			client: "close 1012 upstream gone, RST", upstream: "text 50 of 100, FIN, RST", want: lost,
		},
		{
			name:   "upstream_gone with 1011",
			policy: Policy{OnUpstreamLost: frame.CloseInternalError},
			script: func(d *driver) {
				d.leaves(d.upstream())
				d.leaves(d.client())
			},
			client: "close 1011 upstream gone", upstream: "FIN", want: with(lost, func(c *lifecycle.Close) { c.Code = 1011 }),
		},
		{
			name:   "upstream_gone with fin",
			policy: Policy{FIN: true},
			script: func(d *driver) {
				d.upstreamSends(text(1))
				d.leaves(d.upstream())
				d.clientSends(text(9))
				d.leaves(d.client())
			},
			client: "text 1, FIN", upstream: "FIN", want: with(lost, mute),
		},
		{
			name: "both gone at once",
			script: func(d *driver) {
				d.client().queue = []event{{eof: true}}
				d.upstream().queue = []event{{eof: true}}
				d.run()
			},
			client: "FIN", upstream: "FIN", want: gone,
		},
	})
}
