package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"wsproxy/cmd/wsproxy/demo"
	"wsproxy/config"
	"wsproxy/egress"
	"wsproxy/lifecycle"
	"wsproxy/tlsconf"
)

// probeSettings are what is asked for.
type probeSettings struct {
	url, egress  string
	ping         bool
	timeout      time.Duration
	headers      []string
	subprotocols []string
	tls          tlsconf.Client
}

// probe opens WebSockets as a client.
type probe struct {
	name    string // without what may be secret
	request string // as gorilla/websocket takes it
	header  http.Header
	dialer  egress.Dialer
	target  egress.Target
	via     string
	probeSettings
}

// probed is what came of one.
type probed struct {
	url   string
	story *demo.Story
	rtt   time.Duration // of the ping; 0 without one
}

// passed says that it opened, that the ping was answered, and that we closed it in order.
func (r *probed) passed() bool {
	end := r.story.Outcome.Close
	return r.story.Outcome.Failure == nil && end.Cause == lifecycle.CauseClientClose && end.Clean
}

func newProbe(s probeSettings) (*probe, error) {
	p := &probe{probeSettings: s}
	u, err := url.Parse(s.url)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return nil, errors.New("want a URL as wss://chat.example.com/room, without user, password and fragment")
	}
	var to config.Target
	if err := to.UnmarshalText([]byte(u.Scheme + "://" + u.Host)); err != nil || to.SRV {
		return nil, fmt.Errorf("%s://%s: want a URL with ws:// or wss://", u.Scheme, u.Host)
	}
	if p.header, err = headersOf(s.headers); err != nil {
		return nil, err
	}
	var store tlsconf.Store
	client, err := store.Client(s.tls)
	if err != nil {
		return nil, err
	}
	p.target = egress.Target{Address: to.Address}
	if to.TLS {
		p.target.TLS = client
	}
	p.name = u.Scheme + "://" + u.Host + u.EscapedPath()
	p.request = "ws://" + u.Host + cmp.Or(u.EscapedPath(), "/")
	if u.RawQuery != "" {
		p.request += "?" + u.RawQuery
	}
	return p, p.goThrough(s.egress)
}

// goThrough sets the egress, which may name its credentials.
func (p *probe) goThrough(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil {
		return errors.New("--egress: want a URL as http://proxy.example.com:3128")
	}
	var at config.EgressURL
	if err := at.UnmarshalText([]byte(u.Scheme + "://" + u.Host)); err != nil {
		return fmt.Errorf("--egress %s://%s: want a URL with http://, https://, socks5:// or socks5h://", u.Scheme, u.Host)
	}
	through := &egress.Proxy{Name: at.Text, Address: at.Address}
	if through.Type, err = egress.ParseType(at.Scheme); err != nil {
		return err
	}
	if user := u.User; user != nil {
		password, _ := user.Password()
		through.Credentials = func() (string, string) { return user.Username(), password }
	}
	var store tlsconf.Store
	if through.TLS, err = store.Client(tlsconf.Client{CA: p.tls.CA, Insecure: p.tls.Insecure}); err != nil {
		return err
	}
	p.dialer.Proxy, p.via = through, at.Text
	return nil
}

// run opens one WebSocket and closes it.
func (p *probe) run(ctx context.Context) *probed {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	recorder := &demo.Recorder{}
	registry := &lifecycle.Registry{Observers: []lifecycle.Observer{recorder}}
	record := registry.Open("", time.Now())
	record.Update(func(f *lifecycle.Facts) { f.Target, f.Egress = p.name, p.via })
	for _, phase := range []lifecycle.Phase{lifecycle.PhaseRequest, lifecycle.PhaseRoute} { // a client has none
		ctx, step := record.Begin(ctx, &lifecycle.Step{Phase: phase, Begun: record.Accepted})
		step.EndAt(ctx, record.Accepted, nil)
	}
	r := &probed{url: p.name}
	p.open(lifecycle.NewContext(ctx, record), record, r)
	r.story, _ = recorder.Story(context.WithoutCancel(ctx), "") // it is there
	r.story.Steps = r.story.Steps[2:]
	return r
}

func (p *probe) open(ctx context.Context, record *lifecycle.Connection, r *probed) {
	conn, err := p.dialer.Dial(ctx, p.target)
	if err == nil {
		var ws *websocket.Conn
		if ws, err = p.upgrade(ctx, record, conn); err == nil {
			defer ws.Close()
			p.use(ctx, record, ws, r)
			return
		}
		conn.Close()
	}
	failure, ok := errors.AsType[*lifecycle.Failure](err)
	if !ok {
		failure = lifecycle.Fail(lifecycle.ReasonInternal, err)
	}
	record.Failed(failure, failure.Status)
}

func (p *probe) upgrade(ctx context.Context, record *lifecycle.Connection, conn net.Conn) (*websocket.Conn, error) {
	ctx, step := record.Begin(ctx, &lifecycle.Step{Phase: lifecycle.PhaseUpgrade, Host: p.target.Address, Peer: conn.RemoteAddr().String()})
	d := websocket.Dialer{
		Subprotocols: p.subprotocols, EnableCompression: true,
		NetDialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	}
	ws, resp, err := d.DialContext(ctx, p.request, p.header)
	if resp != nil {
		step.Status = resp.StatusCode
	}
	if err != nil {
		return nil, step.End(ctx, refused(resp, err))
	}
	record.Update(func(f *lifecycle.Facts) {
		f.Subprotocol = ws.Subprotocol()
		f.Compressed = strings.Contains(resp.Header.Get("Sec-WebSocket-Extensions"), "permessage-deflate")
	})
	return ws, step.End(ctx, nil)
}

// refused is why a handshake failed.
func refused(resp *http.Response, err error) error {
	switch {
	case !errors.Is(err, websocket.ErrBadHandshake):
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return lifecycle.Fail(lifecycle.ReasonUpstreamGone, err)
		}
		return err
	case resp.StatusCode == http.StatusSwitchingProtocols:
		return lifecycle.Failf(lifecycle.ReasonBadUpgradeResponse, "the 101 has not what RFC 6455 asks for")
	}
	f := lifecycle.Failf(lifecycle.ReasonUpgradeRejected, "answered %d%s", resp.StatusCode, explained(resp.Body))
	f.Status = resp.StatusCode
	return f
}

// explained is what a wsproxy that refuses a client says of it.
func explained(body io.Reader) string {
	var told struct {
		Phase, Reason string
		TraceID       string `json:"trace_id"`
	}
	if json.NewDecoder(io.LimitReader(body, 4<<10)).Decode(&told) != nil || told.Phase == "" {
		return ""
	}
	text := fmt.Sprintf(", wsproxy failed in phase %q for %q", told.Phase, told.Reason)
	if told.TraceID != "" {
		text += fmt.Sprintf(", trace %q", told.TraceID)
	}
	return text
}

// use pings, if that is asked for, and closes.
func (p *probe) use(ctx context.Context, record *lifecycle.Connection, ws *websocket.Conn, r *probed) {
	defer context.AfterFunc(ctx, func() { ws.Close() })()
	stepCtx, step := record.Begin(ctx, &lifecycle.Step{Phase: lifecycle.PhaseTransfer})
	h := hear(ws, record.Flow(lifecycle.Downstream))
	var err error
	if p.ping {
		r.rtt, err = h.ping()
	}
	step.End(stepCtx, nil)
	stepCtx, step = record.Begin(ctx, &lifecycle.Step{Phase: lifecycle.PhaseClose, Begun: step.Ended})
	var end lifecycle.Close
	switch {
	case err == nil:
		end = h.leave()
	case ctx.Err() != nil:
		end = lifecycle.Close{Cause: lifecycle.CausePongTimeout, Initiator: lifecycle.InitiatorClient, Code: lifecycle.NoCode}
	default:
		end = endOf(err)
	}
	ws.Close()
	<-h.ended
	step.End(stepCtx, nil)
	record.Closed(end)
}

// hearing reads what an open WebSocket brings until it ends.
type hearing struct {
	ws    *websocket.Conn
	pong  chan time.Time
	ended chan struct{}
	err   error // of the end
}

func hear(ws *websocket.Conn, flow *lifecycle.Flow) *hearing {
	h := &hearing{ws: ws, pong: make(chan time.Time, 1), ended: make(chan struct{})}
	ws.SetPongHandler(func(string) error {
		select {
		case h.pong <- time.Now():
		default: // one that nobody asked for
		}
		return nil
	})
	go func() {
		defer close(h.ended)
		for h.err == nil {
			h.err = h.message(flow)
		}
	}()
	return h
}

func (h *hearing) message(flow *lifecycle.Flow) error {
	kind, message, err := h.ws.NextReader()
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, message)
	flow.Bytes.Add(uint64(n))
	if err != nil {
		return err
	}
	if kind == websocket.TextMessage {
		flow.Text.Add(1)
	} else {
		flow.Binary.Add(1)
	}
	return nil
}

// ping returns the time until the pong.
func (h *hearing) ping() (time.Duration, error) {
	sent := time.Now()
	if err := h.ws.WriteControl(websocket.PingMessage, []byte("wsproxy-probe"), time.Time{}); err != nil {
		h.ws.Close()
		<-h.ended
		return 0, cmp.Or(h.err, err)
	}
	select {
	case at := <-h.pong:
		return at.Sub(sent), nil
	case <-h.ended:
		return 0, h.err
	}
}

// closePatience is how long the answer to a Close may take.
const closePatience = 5 * time.Second

// leave closes in order, and tells whether that went well.
func (h *hearing) leave() lifecycle.Close {
	end := lifecycle.Close{Cause: lifecycle.CauseClientClose, Initiator: lifecycle.InitiatorClient, Code: websocket.CloseNormalClosure}
	bye := websocket.FormatCloseMessage(end.Code, "")
	h.ws.SetReadDeadline(time.Now().Add(closePatience))
	h.ws.WriteControl(websocket.CloseMessage, bye, time.Time{}) // if it fails there is no answer
	<-h.ended
	answer, ok := errors.AsType[*websocket.CloseError](h.err)
	switch {
	case ok && (answer.Code == end.Code || answer.Code == websocket.CloseNoStatusReceived):
		end.Clean = true
	case ok && answer.Code != websocket.CloseAbnormalClosure:
		return endOf(h.err) // its own: an answer has our code, or none
	}
	return end
}

// endOf is how the other end left by itself.
func endOf(err error) lifecycle.Close {
	end := lifecycle.Close{Cause: lifecycle.CauseUpstreamGone, Initiator: lifecycle.InitiatorUpstream, Code: lifecycle.NoCode}
	if c, ok := errors.AsType[*websocket.CloseError](err); ok && c.Code != websocket.CloseAbnormalClosure {
		end.Cause, end.Code, end.Clean = lifecycle.CauseUpstreamClose, c.Code, true
	}
	return end
}
