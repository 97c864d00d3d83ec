package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"time"
)

// clientHello is what a ClientHello tells of where a client wants to go.
type clientHello struct {
	serverName string
	alpn       []string
	http       bool // the client may be content with HTTP/1.1
}

// Bounds of what is kept of a client's own text.
const (
	maxALPN     = 8
	maxALPNName = 32
)

var errHelloRead = errors.New("the ClientHello is read")

// readClientHello reads the ClientHello at the beginning of b, which stays as it is. more says that b is
// too short to tell; a ClientHello that can't be read is an empty one.
//
// crypto/tls does the reading: its server calls back with what it read before it answers, and is
// stopped there.
func readClientHello(b []byte) (hello clientHello, more bool) {
	if len(b) < 5 || len(b) < 5+int(b[3])<<8+int(b[4]) {
		return clientHello{}, true
	}
	source := &recorded{Reader: *bytes.NewReader(b)}
	read := false
	err := tls.Server(source, &tls.Config{GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
		read = true
		hello = clientHello{serverName: info.ServerName, alpn: bounded(info.SupportedProtos), http: offersHTTP(info.SupportedProtos)}
		return nil, errHelloRead
	}}).Handshake()
	return hello, !read && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF))
}

// offersHTTP is for the protocols of a ClientHello. One without any says nothing of what it speaks.
func offersHTTP(alpn []string) bool { return len(alpn) == 0 || slices.Contains(alpn, "http/1.1") }

func bounded(protos []string) []string {
	var all []string
	for _, p := range slices.Compact(protos) {
		if len(all) < maxALPN && len(p) <= maxALPNName {
			all = append(all, p)
		}
	}
	return all
}

// recorded is a connection that ends behind the bytes that it has; what is written to it is gone.
type recorded struct{ bytes.Reader }

func (*recorded) Write(b []byte) (int, error)      { return len(b), nil }
func (*recorded) Close() error                     { return nil }
func (*recorded) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*recorded) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*recorded) SetDeadline(time.Time) error      { return nil }
func (*recorded) SetReadDeadline(time.Time) error  { return nil }
func (*recorded) SetWriteDeadline(time.Time) error { return nil }
