package demo

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// Result is what a scenario's client saw.
type Result struct {
	Client   string // its own address, by which a Recorder knows the connection
	Status   int    // that the handshake was answered with; 0 if it was not
	Problem  string // phase and reason, as a refused client is told
	Sent     int    // messages
	Received int
	Code     int // of the Close that the client saw, 1006 where there was none; 0 if the handshake failed
	Reason   string
	Err      error // how it left the script; nil if it did not
}

func (r Result) String() string {
	var parts []string
	if r.Status != 0 {
		parts = append(parts, strconv.Itoa(r.Status)+" "+http.StatusText(r.Status))
	}
	if r.Problem != "" {
		parts = append(parts, r.Problem)
	}
	if r.Status == http.StatusSwitchingProtocols {
		parts = append(parts, fmt.Sprintf("sent %d, received %d", r.Sent, r.Received))
	}
	if r.Code != 0 {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("close %d %s", r.Code, r.Reason)))
	}
	if r.Err != nil {
		parts = append(parts, "NOT AS EXPECTED: "+r.Err.Error())
	}
	return strings.Join(parts, ", ")
}

// playTime bounds a scenario.
const playTime = 15 * time.Second

// Run plays the scenario against the proxy at base, as ws://127.0.0.1:8080.
func (s Scenario) Run(ctx context.Context, base string) Result {
	ctx, cancel := context.WithTimeout(ctx, playTime)
	defer cancel()
	p := &player{Scenario: s}
	if err := p.play(ctx, base); err != nil {
		p.result.Err = cmp.Or(context.Cause(ctx), err)
	}
	return p.result
}

// player is a scenario's client.
type player struct {
	Scenario
	conn   *websocket.Conn
	result Result
	pushed int
}

func (p *player) play(ctx context.Context, base string) error {
	if err := p.dial(ctx, base); err != nil || p.conn == nil {
		return err
	}
	defer p.conn.Close()
	forget := context.AfterFunc(ctx, func() { p.conn.Close() })
	defer forget()
	p.conn.SetReadLimit(messageLimit)
	if err := p.talk(); err != nil {
		return err
	}
	if p.code == 0 {
		bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "bye")
		if err := p.conn.WriteControl(websocket.CloseMessage, bye, time.Now().Add(patience)); err != nil {
			return err
		}
	} else if err := p.send(echoes); err != nil { // the one too many
		return err
	}
	return p.awaitClose()
}

// dial opens the WebSocket. p.conn stays nil if it was refused as the script has it.
func (p *player) dial(ctx context.Context, base string) error {
	d := websocket.Dialer{
		HandshakeTimeout: playTime, Subprotocols: p.subprotocols, EnableCompression: p.compress,
		NetDialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			if err == nil {
				p.result.Client = conn.LocalAddr().String()
			}
			return conn, err
		},
	}
	head := http.Header{"User-Agent": {"wsproxy-demo"}}
	if p.origin != "" {
		head.Set("Origin", p.origin)
	}
	conn, answer, err := d.DialContext(ctx, strings.TrimSuffix(base, "/")+p.Path, head)
	if answer != nil {
		p.result.Status = answer.StatusCode
	}
	if err != nil && answer == nil {
		return err
	}
	p.conn = conn
	if err != nil {
		p.result.Problem = problemOf(answer.Body)
	}
	if want := cmp.Or(p.status, http.StatusSwitchingProtocols); p.result.Status != want {
		if conn != nil {
			conn.Close()
		}
		return fmt.Errorf("status %d, want %d", p.result.Status, want)
	}
	return nil
}

// problemOf reads the phase and the reason out of a refusal.
func problemOf(body io.Reader) string {
	var told struct{ Phase, Reason string }
	if json.NewDecoder(io.LimitReader(body, headLimit)).Decode(&told) != nil || told.Phase == "" {
		return ""
	}
	return told.Phase + ": " + told.Reason
}

// talk sends messages of several sizes, waits for the echo of each and for what the upstream says.
func (p *player) talk() error {
	friendly, turns := p.code == 0, echoes
	if friendly {
		turns = len(sizes)
	}
	for i := range turns {
		if err := p.send(i); err != nil {
			return err
		}
		for p.result.Received-p.pushed <= i {
			if err := p.receive(); err != nil {
				return err
			}
		}
	}
	for friendly && p.pushed < pushes {
		if err := p.receive(); err != nil {
			return err
		}
	}
	return nil
}

// sizes are those of the messages, in bytes.
var sizes = [...]int{24, 500, 4000}

func (p *player) send(i int) error {
	p.conn.SetWriteDeadline(time.Now().Add(patience))
	text := strings.Repeat("hello from the client, ", sizes[i%len(sizes)]/23+1)[:sizes[i%len(sizes)]]
	if err := p.conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		return err
	}
	p.result.Sent++
	return nil
}

func (p *player) receive() error {
	p.conn.SetReadDeadline(time.Now().Add(patience))
	_, message, err := p.conn.ReadMessage()
	if err != nil {
		return err
	}
	p.result.Received++
	if strings.HasPrefix(string(message), pushPrefix) {
		p.pushed++
	}
	return nil
}

// awaitClose reads on until the end, which must be a Close with the script's code.
func (p *player) awaitClose() error {
	for {
		err := p.receive()
		if err == nil {
			continue
		}
		ended, ok := errors.AsType[*websocket.CloseError](err)
		if !ok {
			return err
		}
		p.result.Code, p.result.Reason = ended.Code, ended.Text
		if want := cmp.Or(p.code, websocket.CloseNormalClosure); ended.Code != want {
			return fmt.Errorf("close %d, want %d", ended.Code, want)
		}
		return nil
	}
}
