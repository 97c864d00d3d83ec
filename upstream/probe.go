package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"wsproxy/lifecycle"
)

// Probe is a check that opens a connection and speaks to the target.
type Probe struct {
	// Dial opens a connection ready for HTTP, TLS done.
	Dial func(ctx context.Context, at Location) (net.Conn, error)

	Path        string // of the request; empty: /
	Host        string // for the Host header; empty: the target's own
	Plain       bool   // a GET that is answered with a 2xx, in place of a WebSocket
	Subprotocol string // to agree on; empty: none is offered
	Send        string // a text message to send when the WebSocket is open; empty: none
	Expect      string // part of the first message that comes then; empty: none is waited for
}

// probeLimit bounds what a check reads of one message.
const probeLimit = 64 << 10

// Check opens a connection to the target, looks whether it answers, and closes it in order. rtt is the
// time from a ping to its pong. ctx has a deadline.
func (b *Probe) Check(ctx context.Context, at Location) (rtt time.Duration, err error) {
	if b.Plain {
		return 0, b.get(ctx, at)
	}
	conn, err := b.open(ctx, at)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	conn.SetReadLimit(probeLimit)
	if err := b.converse(conn); err != nil {
		return 0, err
	}
	if rtt, err = ping(conn); err != nil {
		return 0, err
	}
	leave(conn)
	return rtt, nil
}

func (b *Probe) url(scheme string, at Location) string {
	host := at.Host
	if at.Network == "unix" {
		host = "localhost"
	}
	return scheme + "://" + cmp.Or(b.Host, host) + cmp.Or(b.Path, "/")
}

// dialled has net/http and gorilla/websocket use the target's connection, on which TLS is done, whatever
// address they work out.
func (b *Probe) dialled(at Location) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) { return b.Dial(ctx, at) }
}

// open does the handshake; gorilla/websocket judges the answer's Sec-WebSocket-Accept.
func (b *Probe) open(ctx context.Context, at Location) (*websocket.Conn, error) {
	d := websocket.Dialer{NetDialContext: b.dialled(at)}
	if b.Subprotocol != "" {
		d.Subprotocols = []string{b.Subprotocol}
	}
	conn, resp, err := d.DialContext(ctx, b.url("ws", at), http.Header{"User-Agent": {userAgent}})
	switch {
	case errors.Is(err, websocket.ErrBadHandshake) && resp.StatusCode == http.StatusSwitchingProtocols:
		return nil, lifecycle.Failf(lifecycle.ReasonBadUpgradeResponse, "the 101 has not what RFC 6455 asks for")
	case errors.Is(err, websocket.ErrBadHandshake):
		return nil, rejected(resp.StatusCode)
	case err != nil:
		return nil, err
	}
	if got := conn.Subprotocol(); got != b.Subprotocol {
		conn.Close()
		return nil, lifecycle.Failf(lifecycle.ReasonBadUpgradeResponse, "subprotocol %q, want %q", got, b.Subprotocol)
	}
	return conn, nil
}

const userAgent = "wsproxy-health"

func rejected(status int) *lifecycle.Failure {
	f := lifecycle.Failf(lifecycle.ReasonUpgradeRejected, "answered %d", status)
	f.Status = status
	return f
}

// converse says what is to be said, and waits for what is expected.
func (b *Probe) converse(conn *websocket.Conn) error {
	if b.Send != "" {
		if err := conn.WriteMessage(websocket.TextMessage, []byte(b.Send)); err != nil {
			return fmt.Errorf("send message: %w", err)
		}
	}
	if b.Expect == "" {
		return nil
	}
	_, message, err := conn.ReadMessage()
	if err != nil {
		return unheard("message", err)
	}
	if !strings.Contains(string(message), b.Expect) {
		return lifecycle.Failf(lifecycle.ReasonBadUpgradeResponse, "the first message is another one than expected")
	}
	return nil
}

// ping measures the time until the pong; messages that come meanwhile are nobody's.
func ping(conn *websocket.Conn) (rtt time.Duration, err error) {
	errPong := errors.New("pong")
	sent := time.Now()
	conn.SetPongHandler(func(string) error {
		rtt = time.Since(sent)
		return errPong
	})
	if err := conn.WriteControl(websocket.PingMessage, []byte(userAgent), time.Time{}); err != nil {
		return 0, fmt.Errorf("ping: %w", err)
	}
	for {
		if _, _, err := conn.NextReader(); errors.Is(err, errPong) {
			return rtt, nil
		} else if err != nil {
			return 0, unheard("pong", err)
		}
	}
}

// unheard is why something did not come; gorilla/websocket makes an error of its own of any end.
func unheard(what string, err error) error {
	err = fmt.Errorf("wait for %s: %w", what, err)
	if _, ok := errors.AsType[*websocket.CloseError](err); ok {
		return lifecycle.Fail(lifecycle.ReasonUpstreamGone, err)
	}
	return err
}

// leave closes in order. gorilla/websocket reads no further once a handler has failed, so the target's
// own Close is read over without it; the check has succeeded, so nobody hears of an error.
func leave(conn *websocket.Conn) {
	if conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Time{}) != nil {
		return
	}
	socket := conn.NetConn()
	socket.SetReadDeadline(time.Now().Add(leaveTimeout))
	for buffer, left := make([]byte, 1<<10), probeLimit; left > 0; {
		n, err := socket.Read(buffer)
		if err != nil {
			return
		}
		left -= n
	}
}

// leaveTimeout is how long a target may take to answer the Close of a check.
const leaveTimeout = time.Second

// get is the check of a target that speaks plain HTTP.
func (b *Probe) get(ctx context.Context, at Location) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url("http", at), nil)
	if err != nil {
		return err
	}
	r.Header.Set("User-Agent", userAgent)
	transport := &http.Transport{DialContext: b.dialled(at), DisableKeepAlives: true}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return rejected(resp.StatusCode)
	}
	return nil
}
