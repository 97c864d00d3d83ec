package memnet

import (
	"cmp"
	"context"
	"net"
	"net/http/httptrace"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	defaultFallbackDelay = 300 * time.Millisecond // of RFC 8305, as net.Dialer has it
	leastShare           = 2 * time.Second        // of the time left that one address of several gets
)

// Dialer dials as net.Dialer does: the addresses of one family after another, the other family's
// beside them when those take long (Happy Eyeballs), with httptrace's hooks from the context.
type Dialer struct {
	Network *Network

	// Address is the IP address dialled from; empty means loopback.
	Address string

	// FallbackDelay is the head start of the first address's family; 0 means 300 ms, a negative value
	// that families do not race.
	FallbackDelay time.Duration
}

// Dial dials from loopback to host:port.
func (n *Network) Dial(ctx context.Context, address string) (net.Conn, error) {
	return n.DialContext(ctx, "tcp", address)
}

// DialContext dials from loopback. network is tcp, tcp4 or tcp6.
func (n *Network) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return (&Dialer{Network: n}).DialContext(ctx, network, address)
}

// DialContext returns a *Conn. network is tcp, tcp4 or tcp6.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.dial(ctx, network, address)
	if err != nil {
		return nil, err // and no typed nil
	}
	return c, nil
}

func (d *Dialer) dial(ctx context.Context, network, address string) (*Conn, error) {
	all, err := d.resolve(ctx, network, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	first, second := byFamily(all)
	if network != "tcp" || d.FallbackDelay < 0 || len(second) == 0 {
		return d.inTurn(ctx, network, all)
	}
	return d.race(ctx, network, first, second)
}

func (d *Dialer) resolve(ctx context.Context, network, address string) ([]netip.AddrPort, error) {
	family, isTCP := strings.CutPrefix(network, "tcp")
	if !isTCP {
		return nil, net.UnknownNetworkError(network)
	}
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, &net.AddrError{Err: "invalid port", Addr: address}
	}
	ips, err := d.Network.LookupNetIP(ctx, "ip"+family, host)
	if err != nil {
		return nil, err
	}
	all := make([]netip.AddrPort, 0, len(ips))
	for _, ip := range ips {
		all = append(all, netip.AddrPortFrom(ip, uint16(port)))
	}
	return all, nil
}

// byFamily sorts out the addresses that are not of the first one's family.
func byFamily(all []netip.AddrPort) (first, second []netip.AddrPort) {
	for _, a := range all {
		if a.Addr().Is4() == all[0].Addr().Is4() {
			first = append(first, a)
		} else {
			second = append(second, a)
		}
	}
	return first, second
}

// raced is how one family fared.
type raced struct {
	conn  *Conn
	err   error
	first bool
}

// race dials two families, the second after a delay or when the first has failed, and returns the
// first connection. As with net.Dialer, the loser is called off and may still report to the hooks when
// race has returned.
func (d *Dialer) race(ctx context.Context, network string, first, second []netip.AddrPort) (*Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results, over := make(chan raced), make(chan struct{})
	defer close(over)
	run := func(r raced, all []netip.AddrPort) {
		r.conn, r.err = d.inTurn(ctx, network, all)
		select {
		case results <- r:
		case <-over:
			if r.conn != nil {
				r.conn.Close()
			}
		}
	}
	go run(raced{first: true}, first)
	fallback := time.NewTimer(cmp.Or(d.FallbackDelay, defaultFallbackDelay))
	defer fallback.Stop()
	var errFirst error
	for running := 1; ; {
		select {
		case <-fallback.C:
			running++
			go run(raced{}, second)
		case r := <-results:
			if r.err == nil {
				return r.conn, nil
			}
			running--
			if r.first {
				errFirst = r.err
			}
			switch {
			case r.first && fallback.Stop():
				fallback.Reset(0)
			case running == 0:
				return nil, errFirst
			}
		}
	}
}

// inTurn dials one address after another until one answers, and gives each its share of the time left.
// Its error is the first one.
func (d *Dialer) inTurn(ctx context.Context, network string, all []netip.AddrPort) (*Conn, error) {
	var errFirst error
	for i, to := range all {
		c, err := d.one(ctx, network, to, len(all)-i)
		if err == nil {
			return c, nil
		}
		errFirst = cmp.Or(errFirst, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errFirst
}

func (d *Dialer) one(ctx context.Context, network string, to netip.AddrPort, left int) (*Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, dialError(network, to, err)
	}
	if end, ok := ctx.Deadline(); ok && left > 1 {
		remaining := time.Until(end)
		shared, cancel := context.WithTimeout(ctx, min(remaining, max(remaining/time.Duration(left), leastShare)))
		defer cancel()
		ctx = shared
	}
	trace := httptrace.ContextClientTrace(ctx)
	if trace != nil && trace.ConnectStart != nil {
		trace.ConnectStart(network, to.String())
	}
	c, err := d.connect(ctx, to)
	if err != nil {
		err = dialError(network, to, err)
	}
	if trace != nil && trace.ConnectDone != nil {
		trace.ConnectDone(network, to.String(), err)
	}
	return c, err
}

func dialError(network string, to netip.AddrPort, err error) error {
	return &net.OpError{Op: "dial", Net: network, Addr: net.TCPAddrFromAddrPort(to), Err: err}
}

// connect goes the way to one address.
func (d *Dialer) connect(ctx context.Context, to netip.AddrPort) (*Conn, error) {
	path := d.Network.pathTo(to)
	if path.BlackHole {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err := sleep(ctx, path.Latency); err != nil {
		return nil, err
	}
	if path.Err != nil {
		return nil, os.NewSyscallError("connect", path.Err)
	}
	l := d.Network.listenerAt(to)
	if l == nil {
		return nil, os.NewSyscallError("connect", syscall.ECONNREFUSED)
	}
	from, err := d.source(to.Addr())
	if err != nil {
		return nil, err
	}
	client, server := d.Network.connect(from, to)
	select {
	case l.queue <- server:
		l.offered()
		return client, nil
	case <-l.done:
		return nil, os.NewSyscallError("connect", syscall.ECONNREFUSED)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (d *Dialer) source(to netip.Addr) (netip.Addr, error) {
	switch {
	case d.Address != "":
		return netip.ParseAddr(d.Address)
	case to.Is4():
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
	}
	return netip.IPv6Loopback(), nil
}
