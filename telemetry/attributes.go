package telemetry

import (
	"net"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"

	"wsproxy/lifecycle"
)

// textLimit bounds an attribute whose text a peer chose: queued spans must not hold what a hostile
// client can make large.
const textLimit = 512

// text makes a peer's text fit to be exported: at most textLimit bytes, and valid UTF-8, because one
// string that is not makes protobuf refuse the whole batch.
func text(s string) string { return clip(s, textLimit) }

func clip(s string, limit int) string {
	if len(s) > limit {
		s = strings.Clone(s[:limit]) // not a part that keeps the whole alive
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return s
}

// list collects attributes, leaving out what is not known.
type list []attribute.KeyValue

func (l *list) string(k attribute.Key, v string) {
	if v != "" {
		*l = append(*l, k.String(v))
	}
}

func (l *list) text(k attribute.Key, v string) { l.string(k, text(v)) }

func (l *list) int(k attribute.Key, v int) {
	if v != 0 {
		*l = append(*l, k.Int(v))
	}
}

func (l *list) flag(k attribute.Key, v bool) {
	if v {
		*l = append(*l, k.Bool(v))
	}
}

// address adds host and port of host:port; an address without a port is all host.
func (l *list) address(host, port attribute.Key, v string) {
	h, p := splitAddress(v)
	l.text(host, h)
	l.int(port, p)
}

func (l *list) peer(v string)   { l.address(keyNetworkPeerAddress, keyNetworkPeerPort, v) }
func (l *list) server(v string) { l.address(keyServerAddress, keyServerPort, v) }
func (l *list) client(v string) { l.address(keyClientAddress, keyClientPort, v) }

func (l *list) failure(r lifecycle.Reason) { l.string(keyErrorType, r.String()) }

// tls adds what is worth telling about a session; nil: none was made.
func (l *list) tls(t *lifecycle.TLSInfo) {
	*l = append(*l, keyTLSEstablished.Bool(t != nil))
	if t == nil {
		return
	}
	l.string(keyTLSProtocolVersion, t.Version)
	l.string(keyTLSCipher, t.Cipher)
	l.string(keyTLSCurve, t.Curve)
	l.text(keyTLSNextProtocol, t.ALPN)
	l.text(keyServerAddress, t.ServerName)
	l.string(keyTLSClientSubjectHash, t.ClientSubject)
	*l = append(*l, keyTLSResumed.Bool(t.Resumed))
}

func splitAddress(v string) (host string, port int) {
	if strings.IndexByte(v, ':') < 0 {
		return v, 0
	}
	h, p, err := net.SplitHostPort(v)
	if err != nil {
		return strings.Trim(v, "[]"), 0
	}
	port, _ = strconv.Atoi(p)
	return h, port
}

// closeCodeClass is a close code as a value of a closed set.
func closeCodeClass(code int) string {
	switch {
	case code <= 0: // no Close frame, or one without a code
		return "none"
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014:
		return closeCodes[code-1000]
	case code >= 3000 && code < 4000:
		return "3xxx"
	case code >= 4000 && code < 5000:
		return "4xxx"
	}
	return "invalid"
}

var closeCodes = [...]string{
	"1000", "1001", "1002", "1003", "", "", "", "1007", "1008", "1009", "1010", "1011", "1012", "1013", "1014",
}

// method is a request's method as a value of a closed set.
func method(m string) string {
	switch m {
	case "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE":
		return m
	}
	return other
}

// other stands for every value that is not of a known set.
const other = "_OTHER"

// scheme is a URL's scheme as a value of a closed set.
func scheme(s string) string {
	switch s {
	case "http", "https", "ws", "wss":
		return s
	}
	return ""
}
