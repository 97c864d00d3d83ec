package egress

import (
	"cmp"
	"context"
	"net"
	"strings"
	"time"

	"wsproxy/lifecycle"
)

// attempt is one Dial.
type attempt struct {
	*Dialer
	target Target
	proxy  *Proxy // nil when direct, be it by a bypass
	record *lifecycle.Connection

	elsewhere bool // it failed, but might not through another egress
	granted   bool // the egress made the tunnel
}

func (d *Dialer) newAttempt(ctx context.Context, t Target, p *Proxy) (*attempt, error) {
	t.Network = cmp.Or(t.Network, "tcp")
	a := &attempt{Dialer: d, target: t, record: lifecycle.FromContext(ctx)}
	switch t.Network {
	case "unix":
	case "tcp":
		if err := checkAddress(t.Address); err != nil {
			return nil, lifecycle.Fail(lifecycle.ReasonInternal, err)
		}
		a.proxy = p.For(t)
	default:
		return nil, lifecycle.Fail(lifecycle.ReasonInternal, net.UnknownNetworkError(t.Network))
	}
	a.record.Update(func(f *lifecycle.Facts) {
		f.Egress = ""
		if a.proxy != nil {
			f.Egress = a.proxy.Name
		}
	})
	return a, nil
}

// checkAddress keeps out what would break the line of a CONNECT request.
func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	odd := func(r rune) bool { return r <= ' ' || r == 0x7f }
	if host == "" || port == "" || strings.ContainsFunc(address, odd) {
		return &net.AddrError{Err: "invalid host or port", Addr: address}
	}
	return nil
}

// phase is a step under way.
type phase struct {
	ctx  context.Context // what it runs under and is ended with
	step *lifecycle.Step
}

func (a *attempt) begin(ctx context.Context, step *lifecycle.Step) *phase {
	if a.proxy != nil {
		step.EgressType, step.EgressName = a.proxy.Type.String(), a.proxy.Name
	}
	ctx, step = a.record.Begin(ctx, step)
	return &phase{ctx: ctx, step: step}
}

// end ends the phase. If it failed, conn is closed unless it is nil.
func (p *phase) end(conn net.Conn, err error) error {
	// A fault put in by a test can break a phase, not mend it.
	failed := cmp.Or(p.step.End(p.ctx, err), err)
	if failed != nil && conn != nil {
		conn.Close()
	}
	return failed
}

// budget bounds ctx by d, unless d is zero.
func budget(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}

func peer(conn net.Conn) string {
	if a := conn.RemoteAddr(); a != nil {
		return a.String()
	}
	return ""
}
