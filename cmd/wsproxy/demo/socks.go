package demo

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// SOCKS5 on the wire (RFC 1928, RFC 1929).
const (
	socksVersion     = 5
	socksAuthVersion = 1
	socksUserPass    = 2
	socksNoMethod    = 0xff

	socksConnect = 1
	socksIPv4    = 1
	socksName    = 3
	socksIPv6    = 4

	socksGranted         = 0
	socksFailure         = 1
	socksHostUnreachable = 4
	socksRefused         = 5
	socksNoCommand       = 7
	socksNoAddressType   = 8
)

var errSOCKS = errors.New("not what SOCKS5 asks for")

// socksProxy is a SOCKS5 proxy that knows CONNECT only, wants a user and takes its time.
func (c *Cast) socksProxy(g *guest) {
	g.SetDeadline(time.Now().Add(patience))
	if err := c.socksLogin(g); err != nil {
		return
	}
	address, reply, err := readSOCKS(g)
	if err != nil {
		return
	}
	if reply != socksGranted {
		answerSOCKS(g, reply, g.LocalAddr())
		return
	}
	if !wait(c.ctx, c.waits.socks) {
		return
	}
	target, err := c.dial(address)
	if err != nil {
		answerSOCKS(g, socksReply(err), g.LocalAddr())
		return
	}
	if err := answerSOCKS(g, socksGranted, target.LocalAddr()); err != nil {
		target.Close()
		return
	}
	c.tunnel(g, g.TCPConn, target)
}

// socksLogin agrees on user and password and checks them.
func (c *Cast) socksLogin(g *guest) error {
	version, err := readByte(g)
	if err != nil || version != socksVersion {
		return errSOCKS
	}
	methods, err := readCounted(g)
	if err != nil {
		return err
	}
	if !slices.Contains(methods, socksUserPass) {
		g.Write([]byte{socksVersion, socksNoMethod})
		return errSOCKS
	}
	if _, err := g.Write([]byte{socksVersion, socksUserPass}); err != nil {
		return err
	}
	if version, err = readByte(g); err != nil || version != socksAuthVersion {
		return errSOCKS
	}
	user, err := readCounted(g)
	if err != nil {
		return err
	}
	password, err := readCounted(g)
	if err != nil {
		return err
	}
	if string(user)+":"+string(password) != c.credentials() {
		g.Write([]byte{socksAuthVersion, socksFailure})
		return errSOCKS
	}
	_, err = g.Write([]byte{socksAuthVersion, socksGranted})
	return err
}

// readSOCKS reads a request: the address that it asks for, or the reply code that refuses it.
func readSOCKS(r io.Reader) (address string, reply byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil || head[0] != socksVersion {
		return "", 0, errSOCKS
	}
	var host []byte
	switch head[3] {
	case socksName:
		host, err = readCounted(r)
	case socksIPv4:
		host, err = readN(r, net.IPv4len)
	case socksIPv6:
		host, err = readN(r, net.IPv6len)
	default:
		return "", socksNoAddressType, nil
	}
	if err != nil {
		return "", 0, err
	}
	port, err := readN(r, 2)
	if err != nil {
		return "", 0, err
	}
	if head[1] != socksConnect {
		return "", socksNoCommand, nil
	}
	name := string(host)
	if head[3] != socksName {
		name = net.IP(host).String()
	}
	return net.JoinHostPort(name, strconv.Itoa(int(binary.BigEndian.Uint16(port)))), socksGranted, nil
}

// answerSOCKS replies; from is the address that the proxy speaks to the target from.
func answerSOCKS(w io.Writer, reply byte, from net.Addr) error {
	at := netip.MustParseAddrPort(from.String()) // of a TCP socket
	ip := at.Addr().Unmap()
	answer := []byte{socksVersion, reply, 0, socksIPv4}
	if ip.Is6() {
		answer[3] = socksIPv6
	}
	answer = append(answer, ip.AsSlice()...)
	_, err := w.Write(binary.BigEndian.AppendUint16(answer, at.Port()))
	return err
}

// socksReply is the reply code for a dial that failed.
func socksReply(err error) byte {
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return socksHostUnreachable
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return socksRefused
	}
	return socksFailure
}

func readN(r io.Reader, n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

func readByte(r io.Reader) (byte, error) {
	b, err := readN(r, 1)
	return b[0], err
}

// readCounted reads what has its length, one byte, in front of it.
func readCounted(r io.Reader) ([]byte, error) {
	n, err := readByte(r)
	if err != nil {
		return nil, err
	}
	return readN(r, int(n))
}
