package proxy

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"wsproxy/lifecycle"
)

const (
	// senseTimeout is how long the first bytes of a tunnel are waited for. A tunnel without any is opaque.
	senseTimeout = 5 * time.Second

	// senseBytes bounds what is kept of them. Heads and ClientHellos are smaller.
	senseBytes = headerBytes

	// greetingBytes is what may come from a target before its client has spoken. There is no more than
	// that to be held, since its first byte settles what the tunnel is.
	greetingBytes = 4 << 10
)

// sensed is what the first bytes of a tunnel have shown, and those bytes.
type sensed struct {
	kind    lifecycle.Tunnel
	hello   clientHello   // of TunnelTLS
	request *http.Request // of TunnelWebSocket,
	head    int           // whose head is so long
	early   [2][]byte
}

// sense waits until client or upstream says something that tells what their tunnel is. begun is what the
// client has said already. Nobody is kept waiting: whatever upstream says first makes the tunnel opaque.
// Neither's end nor its error is told here; who relays the tunnel will meet them, too. ctx ends the wait.
func sense(ctx context.Context, client, upstream net.Conn, begun []byte) sensed {
	client.SetReadDeadline(time.Now().Add(senseTimeout))
	stop := context.AfterFunc(ctx, func() { client.SetReadDeadline(past) })
	var greeting []byte
	var listening sync.WaitGroup
	listening.Go(func() {
		greeting = listen(upstream)
		client.SetReadDeadline(past)
	})
	s := senseClient(client, begun)
	stop()
	upstream.SetReadDeadline(past)
	listening.Wait()
	if len(greeting) > 0 && s.kind == lifecycle.TunnelWebSocket {
		s.kind = lifecycle.TunnelOther // it has spoken before it was asked
	}
	s.early[lifecycle.Downstream] = greeting
	client.SetReadDeadline(time.Time{})
	upstream.SetReadDeadline(time.Time{})
	return s
}

// listen waits for the first that upstream says, or for its end.
func listen(upstream net.Conn) []byte {
	b := make([]byte, greetingBytes)
	n, _ := upstream.Read(b)
	return bytes.Clone(b[:n])
}

// senseClient reads until what was read tells enough, or there is no more to come.
func senseClient(client net.Conn, begun []byte) sensed {
	b := make([]byte, max(senseBytes, len(begun)))
	n := copy(b, begun)
	s, more := judge(b[:n])
	for more && n < len(b) {
		read, err := client.Read(b[n:])
		n += read
		s, more = judge(b[:n])
		if err != nil {
			break
		}
	}
	s.early[lifecycle.Upstream] = bytes.Clone(b[:n])
	return s
}

// judge says what a tunnel is that begins with b. more says that the next bytes may change that.
func judge(b []byte) (s sensed, more bool) {
	s.kind = lifecycle.TunnelOther
	if len(b) == 0 {
		return s, true
	}
	if isHandshakeRecord(b) {
		s.kind = lifecycle.TunnelTLS
		s.hello, more = readClientHello(b)
		return s, more
	}
	const get = "GET "
	if n := min(len(b), len(get)); string(b[:n]) != get[:n] {
		return s, false
	}
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return s, true
	}
	end += len("\r\n\r\n")
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b[:end])))
	// A request that we would refuse is for the target to judge: it may be something else than it seems.
	if err != nil || !isUpgrade(r) || checkUpgrade(r) != nil {
		return s, false
	}
	s.kind, s.request, s.head = lifecycle.TunnelWebSocket, r, end
	return s, false
}

// isHandshakeRecord says whether b begins, as far as it goes, with a TLS handshake (RFC 8446 §5.1).
func isHandshakeRecord(b []byte) bool {
	const handshake, major, longest = 22, 3, 1 << 14
	return b[0] == handshake && (len(b) < 2 || b[1] == major) && (len(b) < 5 || int(b[3])<<8+int(b[4]) <= longest)
}
