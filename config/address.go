package config

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Address is where to listen, as net.Listen reads it: host:port, or :port for every interface; port 0 takes a free one.
type Address string

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Address) UnmarshalText(text []byte) error {
	host, port, err := net.SplitHostPort(string(text))
	switch {
	case err != nil && validPort(string(text), 0):
		return &wanted{what: wantAddress, suggestion: ":" + string(text)}
	case err != nil || !validPort(port, 0) || host != "" && !validHost(host):
		return &wanted{what: wantAddress}
	}
	*a = Address(text)
	return nil
}

const wantAddress = "host:port or :port"

// loopback reports whether only this machine can reach the address.
func (a Address) loopback() bool {
	host, _, err := net.SplitHostPort(string(a))
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// takesFreePort reports whether the port is chosen by the system, so that the address may stand twice.
func (a Address) takesFreePort() bool {
	_, port, _ := net.SplitHostPort(string(a))
	return strings.Trim(port, "0") == ""
}

// Network is a range of IP addresses; one address stands for itself.
type Network struct{ netip.Prefix }

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *Network) UnmarshalText(text []byte) error {
	const want = "a network such as 10.0.0.0/8, or an address"
	if ip, err := netip.ParseAddr(string(text)); err == nil && ip.Zone() == "" {
		n.Prefix = netip.PrefixFrom(ip, ip.BitLen())
		return nil
	}
	prefix, err := netip.ParsePrefix(string(text))
	if err != nil {
		return &wanted{what: want}
	}
	if prefix != prefix.Masked() {
		return &wanted{what: "a network without bits beyond its mask", suggestion: prefix.Masked().String()}
	}
	n.Prefix = prefix
	return nil
}

// Target is where an upstream's connections go.
type Target struct {
	Text    string // as configured; a label in telemetry
	Network string // tcp or unix
	Address string // host:port, with the scheme's port where none is given; or the path of the socket
	TLS     bool
	SRV     bool // Address is the name of SRV records, without a port
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *Target) UnmarshalText(text []byte) error {
	whole := string(text)
	if socket, ok := strings.CutPrefix(whole, "unix:"); ok {
		return t.unmarshalUnix(whole, socket)
	}
	if scheme, name, ok := strings.Cut(whole, "://"); ok && strings.HasPrefix(scheme, "srv+") {
		return t.unmarshalSRV(whole, strings.TrimPrefix(scheme, "srv+"), name)
	}
	scheme, address, err := targetSchemes().split(whole)
	if err != nil {
		return err
	}
	*t = Target{Text: whole, Network: "tcp", Address: address, TLS: scheme == "wss" || scheme == "https"}
	return nil
}

func (t *Target) unmarshalSRV(whole, scheme, name string) error {
	name = strings.TrimSuffix(name, "/")
	if scheme != "ws" && scheme != "wss" || !validHost(name) || net.ParseIP(name) != nil {
		return &wanted{what: "srv+ws:// or srv+wss:// with the name of SRV records alone, as in srv+ws://_chat._tcp.example.com"}
	}
	*t = Target{Text: whole, Network: "tcp", Address: name, TLS: scheme == "wss", SRV: true}
	return nil
}

func targetSchemes() schemes {
	return schemes{{"ws", "80"}, {"wss", "443"}, {"http", "80"}, {"https", "443"}}
}

// maxSocketPath is the length of sun_path, less its final zero (unix(7)).
const maxSocketPath = 107

func (t *Target) unmarshalUnix(whole, socket string) error {
	switch {
	case strings.HasPrefix(socket, "//"):
		return &wanted{what: "unix:/path/to.sock", suggestion: "unix:/" + strings.TrimLeft(socket, "/")}
	case !strings.HasPrefix(socket, "/"):
		return &wanted{what: "an absolute path, as in unix:/path/to.sock"}
	case len(socket) > maxSocketPath:
		return &wanted{what: "a socket's path of at most " + strconv.Itoa(maxSocketPath) + " bytes"}
	}
	*t = Target{Text: whole, Network: "unix", Address: socket}
	return nil
}
