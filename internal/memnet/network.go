package memnet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptrace"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// firstEphemeral is the first port given to those who ask for none.
const firstEphemeral = 49152

// Network is a set of names and addresses that can be dialled. The zero value knows the name localhost
// and nothing else.
type Network struct {
	// Buffer is how many bytes each direction of a new connection holds; 0 means DefaultBuffer.
	Buffer int

	mu        sync.Mutex
	hosts     map[string]Host
	paths     map[string]Path
	listeners map[string]*Listener
	ports     int // ephemeral ones given out
}

// Host is what looking up a name gives.
type Host struct {
	Addresses []string      // IP addresses, in the order they are returned
	Delay     time.Duration // until the answer
	Err       error         // a *net.DNSError, or what becomes one
}

// Path is what dialling an address meets.
type Path struct {
	Latency   time.Duration // until the answer
	Err       error         // the answer, syscall.ECONNREFUSED for example; nil lets the dial through
	BlackHole bool          // there is no answer
}

// SetHost makes a name known, or changes it.
func (n *Network) SetHost(name string, h Host) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts == nil {
		n.hosts = make(map[string]Host)
	}
	n.hosts[name] = h
}

// SetPath says what dialling an address, "10.0.0.5" or "10.0.0.5:9000", meets. The one with a port
// goes first. Without a path the answer is immediate.
func (n *Network) SetPath(address string, p Path) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.paths == nil {
		n.paths = make(map[string]Path)
	}
	n.paths[address] = p
}

// Listen listens on host:port. The host is an IP address, a name (its first address is used), or empty
// for every address; port 0 picks a free one.
func (n *Network) Listen(address string) (*Listener, error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	ip := netip.IPv6Unspecified()
	if host != "" {
		if ip, err = n.firstAddress(host); err != nil {
			return nil, fmt.Errorf("listen on %s: %w", address, err)
		}
	}
	if port == 0 {
		port = uint64(n.ephemeral())
	}
	at := netip.AddrPortFrom(ip, uint16(port))
	l := &Listener{network: n, key: at.String(), addr: net.TCPAddrFromAddrPort(at), queue: make(chan *Conn, backlog), done: make(chan struct{})}
	if n.listeners[l.key] != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: l.addr, Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	if n.listeners == nil {
		n.listeners = make(map[string]*Listener)
	}
	n.listeners[l.key] = l
	return l, nil
}

func (n *Network) forget(l *Listener) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.listeners, l.key)
}

func (n *Network) listenerAt(at netip.AddrPort) *Listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l := n.listeners[at.String()]; l != nil {
		return l
	}
	return n.listeners[netip.AddrPortFrom(netip.IPv6Unspecified(), at.Port()).String()]
}

func (n *Network) pathTo(at netip.AddrPort) Path {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p, ok := n.paths[at.String()]; ok {
		return p
	}
	return n.paths[at.Addr().String()]
}

// connect makes a connection from ip, at a port of its own, to the given address.
func (n *Network) connect(ip netip.Addr, to netip.AddrPort) (*Conn, *Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return connect(netip.AddrPortFrom(ip, n.ephemeral()), to, cmp.Or(n.Buffer, DefaultBuffer))
}

func (n *Network) ephemeral() uint16 {
	port := firstEphemeral + n.ports%(1<<16-firstEphemeral)
	n.ports++
	return uint16(port)
}

// firstAddress is for Listen: it takes no time, fires no hook and is called with the mutex held.
func (n *Network) firstAddress(host string) (netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip, nil
	}
	all, err := n.host(host).answer(host)
	if err != nil {
		return netip.Addr{}, err
	}
	return all[0], nil
}

func (n *Network) host(name string) Host {
	h, known := n.hosts[name]
	if !known && name == "localhost" {
		h.Addresses = []string{"127.0.0.1"}
	}
	return h
}

// LookupNetIP has the shape of net.Resolver's method. network is ip, ip4 or ip6. It fires httptrace's
// DNS hooks from ctx, unless host is an address.
func (n *Network) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	trace := httptrace.ContextClientTrace(ctx)
	if trace != nil && trace.DNSStart != nil {
		trace.DNSStart(httptrace.DNSStartInfo{Host: host})
	}
	all, err := n.lookup(ctx, host)
	if trace != nil && trace.DNSDone != nil {
		trace.DNSDone(httptrace.DNSDoneInfo{Addrs: ipAddrs(all), Err: err})
	}
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(ip netip.Addr) bool { return network == "ip4" && !ip.Is4() || network == "ip6" && ip.Is4() })
	if len(all) == 0 {
		return nil, &net.AddrError{Err: "no suitable address found", Addr: host}
	}
	return all, nil
}

func (n *Network) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	h := n.host(host)
	n.mu.Unlock()
	if err := sleep(ctx, h.Delay); err != nil {
		timeout := errors.Is(err, context.DeadlineExceeded)
		return nil, &net.DNSError{UnwrapErr: err, Err: err.Error(), Name: host, IsTimeout: timeout}
	}
	return h.answer(host)
}

func (h Host) answer(name string) ([]netip.Addr, error) {
	if h.Err != nil {
		if _, ok := errors.AsType[*net.DNSError](h.Err); ok {
			return nil, h.Err
		}
		return nil, &net.DNSError{UnwrapErr: h.Err, Err: h.Err.Error(), Name: name, IsTemporary: true}
	}
	all := make([]netip.Addr, 0, len(h.Addresses))
	for _, a := range h.Addresses {
		ip, err := netip.ParseAddr(a)
		if err != nil {
			return nil, fmt.Errorf("address of %s: %w", name, err)
		}
		all = append(all, ip)
	}
	if len(all) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return all, nil
}

func ipAddrs(all []netip.Addr) []net.IPAddr {
	var converted []net.IPAddr
	for _, ip := range all {
		converted = append(converted, net.IPAddr{IP: ip.AsSlice(), Zone: ip.Zone()})
	}
	return converted
}

// sleep waits for d, or until ctx ends and then returns its error. The shortest sleep is none.
func sleep(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil || d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
