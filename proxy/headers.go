package proxy

import (
	"bytes"
	"maps"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// hopByHop are the headers that concern one connection only (RFC 9110 §7.6.1), besides those that
// Connection names.
var hopByHop = []string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// endToEnd returns a copy of h without what concerns one hop only.
func endToEnd(h http.Header) http.Header {
	c := h.Clone()
	dropHop(c)
	return c
}

// dropHop takes out of h what concerns one hop only.
func dropHop(h http.Header) {
	for _, token := range tokens(h["Connection"]) {
		// What the handshake is made of stays, whatever Connection says of it.
		if name := http.CanonicalHeaderKey(token); !strings.HasPrefix(name, "Sec-Websocket-") {
			delete(h, name)
		}
	}
	for _, name := range hopByHop {
		delete(h, name)
	}
}

// tokens splits the values of a comma-separated header.
func tokens(values []string) []string {
	var all []string
	for _, v := range values {
		for t := range strings.SplitSeq(v, ",") {
			if t = strings.TrimSpace(t); t != "" {
				all = append(all, t)
			}
		}
	}
	return all
}

// wellFormed reports whether every client will read h as we do. net/http lets a response have a blank
// before the colon, which others drop, and control characters.
func wellFormed(h http.Header) bool {
	for name, values := range h {
		invalid := func(v string) bool { return !httpguts.ValidHeaderFieldValue(v) }
		if !httpguts.ValidHeaderFieldName(name) || slices.ContainsFunc(values, invalid) {
			return false
		}
	}
	return true
}

func hasToken(values []string, token string) bool {
	return slices.ContainsFunc(tokens(values), func(t string) bool { return strings.EqualFold(t, token) })
}

// spelling is how RFC 6455 writes names that net/http spells otherwise; some servers compare names
// with case.
var spelling = map[string]string{
	"Sec-Websocket-Key":        "Sec-WebSocket-Key",
	"Sec-Websocket-Accept":     "Sec-WebSocket-Accept",
	"Sec-Websocket-Version":    "Sec-WebSocket-Version",
	"Sec-Websocket-Protocol":   "Sec-WebSocket-Protocol",
	"Sec-Websocket-Extensions": "Sec-WebSocket-Extensions",
}

// writeHead appends start line and headers, in the order of their names, and the empty line.
func writeHead(b *bytes.Buffer, start string, h http.Header) {
	b.WriteString(start)
	b.WriteString("\r\n")
	for _, name := range slices.Sorted(maps.Keys(h)) {
		as := name
		if rfc, ok := spelling[name]; ok {
			as = rfc
		}
		for _, v := range h[name] {
			b.WriteString(as)
			b.WriteString(": ")
			b.WriteString(oneLine.Replace(v))
			b.WriteString("\r\n")
		}
	}
	b.WriteString("\r\n")
}

// oneLine keeps a value from becoming a header of its own.
var oneLine = strings.NewReplacer("\r", " ", "\n", " ")
