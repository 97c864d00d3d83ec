package egress

import (
	"net"
	"net/netip"
	"time"

	proxyproto "github.com/pires/go-proxyproto"

	"wsproxy/lifecycle"
)

// introductionTimeout bounds the writing of a PROXY header, for which a fresh socket has room.
const introductionTimeout = time.Second

// introduce writes the target's PROXY header, if it wants one. conn is closed if that fails.
func (a *attempt) introduce(conn net.Conn) error {
	if a.target.ProxyProtocol == 0 {
		return nil
	}
	h := proxyproto.HeaderProxyFromAddrs(byte(a.target.ProxyProtocol), tcpAddr(a.target.Client), tcpAddr(a.target.Server))
	conn.SetWriteDeadline(time.Now().Add(introductionTimeout))
	_, err := h.WriteTo(conn)
	if err == nil {
		err = conn.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		conn.Close()
	}
	return err
}

// tcpAddr is nil for an address that is not known.
func tcpAddr(a netip.AddrPort) net.Addr {
	if !a.IsValid() {
		return nil
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port()))
}

// unheard is for a target that hung up before it was told anything.
func unheard(err error) error {
	if err == nil {
		return nil
	}
	return lifecycle.Fail(lifecycle.ReasonConnectionReset, err)
}
