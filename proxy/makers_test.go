package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"

	"wsproxy/internal/selfca"
	"wsproxy/lifecycle"
	"wsproxy/proxy/relay"
)

// patience is for what should come at once but on a busy machine does not.
const patience = 20 * time.Second

// endpoint is a client's end of a WebSocket, whoever made it.
type endpoint interface {
	echo(text bool, payload []byte) error // sends a message and compares what comes back
	ping() error
	subprotocol() string
	close(code int, reason string) error // and waits for the answer
	closed() (code int, err error)       // waits for the other side to close
}

// maker makes both ends of a WebSocket.
type maker struct {
	name string
	dial func(ctx context.Context, url string, config *tls.Config, deflate bool) (endpoint, error)
	// serve echoes messages until one says bye, and then closes with 4002.
	serve func(w http.ResponseWriter, r *http.Request, deflate bool) error
}

func makers() []maker {
	return []maker{{"gorilla", dialGorilla, serveGorilla}, {"coder", dialCoder, serveCoder}}
}

type gorillaEnd struct{ *gorilla.Conn }

func dialGorilla(ctx context.Context, url string, config *tls.Config, deflate bool) (endpoint, error) {
	d := gorilla.Dialer{TLSClientConfig: config, EnableCompression: deflate, Subprotocols: []string{"other", "chat"}}
	c, _, err := d.DialContext(ctx, url, nil)
	if err != nil {
		return nil, err
	}
	c.SetReadDeadline(time.Now().Add(patience))
	return gorillaEnd{c}, nil
}

func (e gorillaEnd) echo(text bool, payload []byte) error {
	kind := gorilla.BinaryMessage
	if text {
		kind = gorilla.TextMessage
	}
	if err := e.WriteMessage(kind, payload); err != nil {
		return err
	}
	gotKind, got, err := e.ReadMessage()
	if err != nil {
		return err
	}
	if gotKind != kind || !bytes.Equal(got, payload) {
		return fmt.Errorf("got another message of %d bytes, want the %d sent", len(got), len(payload))
	}
	return nil
}

func (e gorillaEnd) ping() error {
	ponged := errors.New("ponged")
	e.SetPongHandler(func(string) error { return ponged })
	if err := e.WriteControl(gorilla.PingMessage, []byte("are you there"), time.Now().Add(patience)); err != nil {
		return err
	}
	// The answer is read with the next message.
	if _, _, err := e.ReadMessage(); !errors.Is(err, ponged) {
		return fmt.Errorf("got %w, want the pong", err)
	}
	return nil
}

func (e gorillaEnd) subprotocol() string { return e.Subprotocol() }

func (e gorillaEnd) close(code int, reason string) error {
	defer e.Conn.Close()
	if err := e.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(code, reason), time.Now().Add(patience)); err != nil {
		return err
	}
	if got, err := e.closed(); got != code {
		return fmt.Errorf("got %d, %w, want %d back", got, err, code)
	}
	return nil
}

func (e gorillaEnd) closed() (int, error) {
	defer e.Conn.Close()
	for {
		if _, _, err := e.ReadMessage(); err != nil {
			if ce, ok := errors.AsType[*gorilla.CloseError](err); ok {
				return ce.Code, err
			}
			return 0, err
		}
	}
}

func serveGorilla(w http.ResponseWriter, r *http.Request, deflate bool) error {
	u := gorilla.Upgrader{EnableCompression: deflate, Subprotocols: []string{"chat"}, CheckOrigin: func(*http.Request) bool { return true }}
	c, err := u.Upgrade(w, r, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(patience))
	for {
		kind, b, err := c.ReadMessage()
		if err != nil {
			return err
		}
		if string(b) == "bye" {
			c.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(4002, "bye"), time.Now().Add(patience))
			continue
		}
		if err := c.WriteMessage(kind, b); err != nil {
			return err
		}
	}
}

type coderEnd struct{ *coder.Conn }

func coderMode(deflate bool) coder.CompressionMode {
	if deflate {
		return coder.CompressionContextTakeover
	}
	return coder.CompressionDisabled
}

func dialCoder(ctx context.Context, url string, config *tls.Config, deflate bool) (endpoint, error) {
	c, _, err := coder.Dial(ctx, url, &coder.DialOptions{
		HTTPClient:      &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}},
		CompressionMode: coderMode(deflate), Subprotocols: []string{"other", "chat"},
	})
	if err != nil {
		return nil, err
	}
	c.SetReadLimit(-1)
	return coderEnd{c}, nil
}

func soon() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

func (e coderEnd) echo(text bool, payload []byte) error {
	kind := coder.MessageBinary
	if text {
		kind = coder.MessageText
	}
	ctx, cancel := soon()
	defer cancel()
	if err := e.Write(ctx, kind, payload); err != nil {
		return err
	}
	gotKind, got, err := e.Read(ctx)
	if err != nil {
		return err
	}
	if gotKind != kind || !bytes.Equal(got, payload) {
		return fmt.Errorf("got another message of %d bytes, want the %d sent", len(got), len(payload))
	}
	return nil
}

func (e coderEnd) ping() error {
	ctx, cancel := soon()
	defer cancel()
	ended := make(chan error, 1)
	go func() { // somebody must read for the pong to be seen
		_, _, err := e.Read(ctx)
		ended <- err
	}()
	err := e.Ping(ctx)
	if werr := e.Write(ctx, coder.MessageText, []byte("pinged")); werr != nil {
		return werr
	}
	return errors.Join(err, <-ended)
}

func (e coderEnd) subprotocol() string { return e.Subprotocol() }

func (e coderEnd) close(code int, reason string) error {
	return e.Close(coder.StatusCode(code), reason)
}

func (e coderEnd) closed() (int, error) {
	defer e.CloseNow()
	ctx, cancel := soon()
	defer cancel()
	for {
		if _, _, err := e.Read(ctx); err != nil {
			return int(coder.CloseStatus(err)), err
		}
	}
}

func serveCoder(w http.ResponseWriter, r *http.Request, deflate bool) error {
	c, err := coder.Accept(w, r, &coder.AcceptOptions{
		CompressionMode: coderMode(deflate), Subprotocols: []string{"chat"}, InsecureSkipVerify: true,
	})
	if err != nil {
		return err
	}
	defer c.CloseNow()
	c.SetReadLimit(-1)
	ctx, cancel := soon()
	defer cancel()
	for {
		kind, b, err := c.Read(ctx)
		if err != nil {
			return err
		}
		if string(b) == "bye" {
			return c.Close(4002, "bye")
		}
		if err := c.Write(ctx, kind, b); err != nil {
			return err
		}
	}
}

// onSockets is a Server on loopback in front of one upstream.
type onSockets struct {
	server  *Server
	engine  relay.Engine
	journal *journal
	url     string
	client  *tls.Config

	serving sync.WaitGroup
}

// engines are all there are on this system.
func engines(t *testing.T) map[string]func() relay.Engine {
	t.Helper()
	all := map[string]func() relay.Engine{"goroutines": func() relay.Engine { return &relay.Goroutines{} }}
	if loops, err := relay.NewLoops(1, nil); err == nil {
		loops.Close()
		all["loops"] = func() relay.Engine {
			e, err := relay.NewLoops(2, nil)
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
	}
	return all
}

func newOnSockets(t *testing.T, e relay.Engine, dial func(context.Context) (net.Conn, error), secure bool) *onSockets {
	t.Helper()
	o := &onSockets{engine: e, journal: &journal{}}
	o.server = &Server{
		Registry: &lifecycle.Registry{Observers: []lifecycle.Observer{o.journal}}, Engine: e, Log: slog.New(slog.DiscardHandler),
		Routes: []*Route{{Name: "all", Match: "/", Upstream: Upstream{Name: "up", Pick: func(c Choice) (Target, Lease, bool) {
			return Target{Name: "a", Address: "a", Host: "a", Dial: func(ctx context.Context) (net.Conn, error) {
				ctx, step := lifecycle.FromContext(ctx).Begin(ctx, &lifecycle.Step{Phase: lifecycle.PhaseConnect})
				c, err := dial(ctx)
				return c, errors.Join(step.End(ctx, err))
			}}, &pick{}, len(c.Tried) == 0
		}}}},
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	in := Listener{Listener: l}
	o.url = "ws://" + l.Addr().String() + "/chat"
	if secure {
		in.TLS, o.client = certified(t)
		o.url = "wss" + strings.TrimPrefix(o.url, "ws")
	}
	o.serving.Go(func() {
		if err := o.server.Serve(in); err != nil {
			t.Errorf("Serve: got %v, want nil", err)
		}
	})
	return o
}

// end waits for the connections and ends everything.
func (o *onSockets) end(t *testing.T) {
	t.Helper()
	ctx, cancel := soon()
	defer cancel()
	if err := o.engine.Wait(ctx); err != nil {
		t.Errorf("wait for the connections: %v", err)
	}
	o.server.Close()
	o.serving.Wait()
	o.engine.Close()
}

func certified(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	ca, err := selfca.New("test")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Issue(selfca.Leaf{Names: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{leaf.TLS()}}, &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1"}
}

// dialing dials an upstream as egress does, our wrapper below TLS.
func dialing(network, address string, config *tls.Config) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		c = relay.NewConn(c)
		if config == nil {
			return c, nil
		}
		secure := tls.Client(c, config)
		return secure, secure.HandshakeContext(ctx)
	}
}

// upstreamOf serves with a maker's WebSocket, and says how each ended.
func upstreamOf(t *testing.T, m maker, secure, deflate bool) (dial func(context.Context) (net.Conn, error), ended chan error, end func()) {
	t.Helper()
	ended = make(chan error, 8)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ended <- m.serve(w, r, deflate)
	}))
	if !secure {
		s.Start()
		return dialing("tcp", s.Listener.Addr().String(), nil), ended, s.Close
	}
	server, client := certified(t)
	s.TLS = server
	s.StartTLS()
	return dialing("tcp", s.Listener.Addr().String(), client), ended, s.Close
}
