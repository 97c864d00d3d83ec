package demo

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"wsproxy/internal/selfca"
)

const (
	subprotocol  = "demo.v1"
	messageLimit = 1 << 20 // bytes

	// An upstream that echoes forever says something of its own, too: a few times soon, then now and then.
	pushes    = 3
	pushSoon  = 20 * time.Millisecond
	pushLater = 2 * time.Second

	// One that does not echo forever ends at the message after these.
	echoes = 2

	closeCode   = 4001
	closeReason = "come back tomorrow"
)

// upstreams are the targets' addresses.
type upstreams struct {
	echo, secure, dying, leaving, refusing string
}

func (c *Cast) startUpstreams(ca *selfca.CA) (u upstreams, err error) {
	leaf, err := ca.Issue(selfca.Leaf{Names: []string{echoName, loopback}})
	if err != nil {
		return u, err
	}
	secure := &tls.Config{Certificates: []tls.Certificate{leaf.TLS()}, NextProtos: []string{"http/1.1"}}
	for _, one := range []struct {
		address *string
		tls     *tls.Config
		end     func(*visit)
	}{
		{&u.echo, nil, nil},
		{&u.secure, secure, nil},
		{&u.dying, nil, (*visit).reset},
		{&u.leaving, nil, (*visit).leave},
	} {
		if *one.address, err = c.startUpstream(one.tls, one.end); err != nil {
			return u, err
		}
	}
	u.refusing, err = c.refusing()
	return u, err
}

// startUpstream starts a WebSocket server that echoes: forever, or for a while and then it calls end.
func (c *Cast) startUpstream(secure *tls.Config, end func(*visit)) (string, error) {
	d, err := c.open()
	if err != nil {
		return "", err
	}
	server := &http.Server{
		Handler:           upstream{end: end},
		BaseContext:       func(net.Listener) context.Context { return c.ctx },
		ReadHeaderTimeout: patience,
		IdleTimeout:       patience,
		MaxHeaderBytes:    headLimit,
		Protocols:         new(http.Protocols),
		ErrorLog:          log.New(io.Discard, "", 0), // a demo's output is no place for it
	}
	server.Protocols.SetHTTP1(true)
	var l net.Listener = d
	if secure != nil {
		l = tls.NewListener(d, secure)
	}
	c.inside.Go(func() { server.Serve(l) }) // until the door is shut
	return d.Addr().String(), nil
}

// upstream is a server that echoes; with an end it does so for a while only.
type upstream struct {
	end func(*visit)
}

// ServeHTTP implements http.Handler.
func (u upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !websocket.IsWebSocketUpgrade(r) {
		fmt.Fprintln(w, "This is an upstream of wsproxy demo. Open a WebSocket here: it echoes.")
		return
	}
	upgrader := websocket.Upgrader{
		HandshakeTimeout: patience, EnableCompression: true, Subprotocols: []string{subprotocol},
		CheckOrigin: func(*http.Request) bool { return true }, // the proxy has
	}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // and was answered
	}
	defer conn.Close()
	conn.SetReadLimit(messageLimit)
	v := &visit{conn: conn}
	if u.end != nil {
		v.echo(echoes)
		u.end(v)
		return
	}
	var pushing sync.WaitGroup
	ctx, stop := context.WithCancel(r.Context())
	pushing.Go(func() { v.push(ctx) })
	for v.echo(1) {
	}
	stop()
	pushing.Wait()
}

// visit is one WebSocket at an upstream.
type visit struct {
	conn *websocket.Conn
	mu   sync.Mutex // one message is written at a time
}

// echo echoes n messages, unless the visit ends before.
func (v *visit) echo(n int) bool {
	for range n {
		kind, r, err := v.conn.NextReader()
		if err != nil {
			return false
		}
		message, err := io.ReadAll(r) // the read limit bounds it
		if err != nil || v.write(kind, message) != nil {
			return false
		}
	}
	return true
}

func (v *visit) write(kind int, message []byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.conn.SetWriteDeadline(time.Now().Add(patience))
	return v.conn.WriteMessage(kind, message)
}

// push says something from time to time until ctx ends.
func (v *visit) push(ctx context.Context) {
	for n := 1; ; n++ {
		pause := pushSoon
		if n > pushes {
			pause = pushLater
		}
		if !wait(ctx, pause) || v.write(websocket.TextMessage, fmt.Append(nil, pushPrefix, n)) != nil {
			return
		}
	}
}

// pushPrefix marks what is no echo.
const pushPrefix = "from the upstream: "

// reset ends the visit, when another message comes, as a process that crashes does: with a RST.
func (v *visit) reset() {
	if _, _, err := v.conn.ReadMessage(); err == nil {
		v.conn.NetConn().(*guest).SetLinger(0)
	}
}

// leave says goodbye, when another message comes, and waits for the answer.
func (v *visit) leave() {
	if _, _, err := v.conn.ReadMessage(); err != nil {
		return
	}
	goodbye := websocket.FormatCloseMessage(closeCode, closeReason)
	if v.conn.WriteControl(websocket.CloseMessage, goodbye, time.Now().Add(patience)) != nil {
		return
	}
	v.conn.SetReadDeadline(time.Now().Add(patience))
	for {
		if _, _, err := v.conn.NextReader(); err != nil {
			return
		}
	}
}
