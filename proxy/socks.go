package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/netip"

	"wsproxy/lifecycle"
)

// SOCKS5 (RFC 1928) with user and password (RFC 1929), as far as a server needs it that can CONNECT.
const (
	socksVersion     = 5
	socksAuthVersion = 1

	socksNoAuth       = 0x00 // methods
	socksPassword     = 0x02
	socksUnacceptable = 0xff

	socksConnect = 1 // the command that we know

	socksIPv4 = 1 // types of address
	socksName = 3
	socksIPv6 = 4
)

// socksReply is the code of a reply (RFC 1928 §6).
type socksReply byte

const (
	socksGranted socksReply = iota
	socksGeneralFailure
	socksNotAllowed
	socksNetworkUnreachable
	socksHostUnreachable
	socksConnectionRefused
	socksTTLExpired
	socksCommandUnsupported
	socksAddressUnsupported
)

var (
	errSOCKSVersion     = errors.New("not SOCKS5")
	errSOCKSMethods     = errors.New("no method of authentication in common")
	errSOCKSCredentials = errors.New("wrong user or password")
	errSOCKSCommand     = errors.New("a command other than CONNECT")
	errSOCKSAddress     = errors.New("an unknown type of address")
)

// socksAsked is the part of the negotiation in which the client speaks, up to and with its request; the
// version in the first byte of all was read before. check is nil where nobody needs to say who he is.
// Nothing is read beyond the request, and the request is not answered unless it is wrong.
func socksAsked(c io.ReadWriter, check func(user, password string) bool) (destination, error) {
	if err := socksMethod(c, check); err != nil {
		return destination{}, err
	}
	var head [4]byte // version, command, reserved, type of address
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return destination{}, err
	}
	if head[0] != socksVersion {
		return destination{}, errSOCKSVersion
	}
	host, err := socksHost(c, head[3])
	if err != nil {
		return destination{}, err
	}
	var port [2]byte
	if _, err := io.ReadFull(c, port[:]); err != nil {
		return destination{}, err
	}
	if head[1] != socksConnect {
		return destination{}, socksAnswer(c, socksCommandUnsupported, errSOCKSCommand)
	}
	to := destination{port: uint16(port[0])<<8 | uint16(port[1])}
	if to.host, err = canonicalHost(host); err == nil && to.port == 0 {
		err = errors.New("port 0")
	}
	if err != nil {
		return destination{}, socksAnswer(c, socksGeneralFailure, err)
	}
	return to, nil
}

// socksMethod agrees on how the client says who it is, and hears it. A client that offers nothing but a
// password is asked for one even where any will do.
func socksMethod(c io.ReadWriter, check func(user, password string) bool) error {
	methods, err := socksText(c)
	if err != nil {
		return err
	}
	var none, password bool
	for _, m := range []byte(methods) {
		none, password = none || m == socksNoAuth, password || m == socksPassword
	}
	switch {
	case check == nil && none:
		_, err := c.Write([]byte{socksVersion, socksNoAuth})
		return err
	case password:
		if _, err := c.Write([]byte{socksVersion, socksPassword}); err != nil {
			return err
		}
		return socksCredentials(c, check)
	}
	c.Write([]byte{socksVersion, socksUnacceptable})
	return errSOCKSMethods
}

func socksCredentials(c io.ReadWriter, check func(user, password string) bool) error {
	var version [1]byte
	if _, err := io.ReadFull(c, version[:]); err != nil {
		return err
	}
	if version[0] != socksAuthVersion {
		return errSOCKSVersion
	}
	user, err := socksText(c)
	if err != nil {
		return err
	}
	password, err := socksText(c)
	if err != nil {
		return err
	}
	if check != nil && !check(user, password) {
		c.Write([]byte{socksAuthVersion, 1})
		return errSOCKSCredentials
	}
	_, err = c.Write([]byte{socksAuthVersion, 0})
	return err
}

// socksText reads up to 255 bytes with their number in front.
func socksText(r io.Reader) (string, error) {
	var b [256]byte
	if _, err := io.ReadFull(r, b[:1]); err != nil {
		return "", err
	}
	text := b[1 : 1+int(b[0])]
	_, err := io.ReadFull(r, text)
	return string(text), err
}

func socksHost(c io.ReadWriter, kind byte) (string, error) {
	switch kind {
	case socksName:
		return socksText(c)
	case socksIPv4, socksIPv6:
		b := make([]byte, map[byte]int{socksIPv4: 4, socksIPv6: 16}[kind])
		if _, err := io.ReadFull(c, b); err != nil {
			return "", err
		}
		ip, _ := netip.AddrFromSlice(b) // of a right length
		return ip.String(), nil
	}
	return "", socksAnswer(c, socksAddressUnsupported, fmt.Errorf("%w: %d", errSOCKSAddress, kind))
}

// socksAnswer replies to a request, and returns err. The address that we are bound to is nobody's
// business; clients don't look at it.
func socksAnswer(w io.Writer, code socksReply, err error) error {
	w.Write([]byte{socksVersion, byte(code), 0, socksIPv4, 0, 0, 0, 0, 0, 0}) // the client may be gone; there is nobody else to tell
	return err
}

// socksReplies are the replies by the reason of a failure. What is not here is a general failure.
var socksReplies = map[lifecycle.Reason]socksReply{
	lifecycle.ReasonForbidden:               socksNotAllowed,
	lifecycle.ReasonUnauthenticated:         socksNotAllowed,
	lifecycle.ReasonAddressDenied:           socksNotAllowed,
	lifecycle.ReasonSOCKSNotAllowed:         socksNotAllowed,
	lifecycle.ReasonNetworkUnreachable:      socksNetworkUnreachable,
	lifecycle.ReasonSOCKSNetworkUnreachable: socksNetworkUnreachable,
	lifecycle.ReasonDNSNotFound:             socksHostUnreachable,
	lifecycle.ReasonDNSTemporary:            socksHostUnreachable,
	lifecycle.ReasonHostUnreachable:         socksHostUnreachable,
	lifecycle.ReasonSOCKSHostUnreachable:    socksHostUnreachable,
	lifecycle.ReasonConnectionRefused:       socksConnectionRefused,
	lifecycle.ReasonConnectionReset:         socksConnectionRefused,
	lifecycle.ReasonSOCKSConnectionRefused:  socksConnectionRefused,
	lifecycle.ReasonDNSTimeout:              socksTTLExpired, // for want of a timeout among the codes
	lifecycle.ReasonConnectTimeout:          socksTTLExpired,
	lifecycle.ReasonProxyTimeout:            socksTTLExpired,
	lifecycle.ReasonSOCKSTTLExpired:         socksTTLExpired,
}

func replyFor(f *lifecycle.Failure) socksReply {
	if code, ok := socksReplies[f.Reason]; ok {
		return code
	}
	return socksGeneralFailure
}
