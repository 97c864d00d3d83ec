//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"

	"github.com/gorilla/websocket"
)

// answer is what the client was answered.
func (s *stage) answer() (e ending) {
	if s.raw == nil {
		return e
	}
	resp, err := http.ReadResponse(s.in, nil)
	if err != nil {
		return e
	}
	defer resp.Body.Close()
	e.status = resp.StatusCode
	var problem struct{ Phase, Reason string }
	if resp.Header.Get("Content-Type") == "application/problem+json" {
		if err := json.NewDecoder(resp.Body).Decode(&problem); err != nil {
			s.t.Errorf("the client's answer: %v", err)
		}
	}
	e.phase, e.reason = problem.Phase, problem.Reason
	return e
}

// heard is what an end got. A reset is told once: to who sends rather than to who reads, if that is the first.
func (s *stage) heard(c *websocket.Conn) string {
	word := lastWord(c)
	if c == s.flooding {
		<-s.flooded
		if word == "FIN" && errors.Is(s.floodErr, syscall.ECONNRESET) {
			return "RST"
		}
	}
	return word
}

// flood has an end send until it can't.
func (s *stage) flood(c *websocket.Conn) {
	s.flooding, s.flooded = c, make(chan struct{})
	go func() {
		defer close(s.flooded)
		message := make([]byte, 64<<10)
		for s.floodErr == nil {
			s.floodErr = c.WriteMessage(websocket.BinaryMessage, message)
		}
	}()
	s.t.Cleanup(func() { c.Close(); <-s.flooded })
}

// lastWord reads until the end, behaves as an endpoint does, and tells what it got.
func lastWord(c *websocket.Conn) string {
	defer c.Close()
	for {
		_, _, err := c.NextReader()
		if err == nil {
			continue
		}
		e, ok := errors.AsType[*websocket.CloseError](err)
		switch {
		case ok && e.Code == websocket.CloseAbnormalClosure:
			return "FIN"
		case ok:
			return strings.TrimSpace(fmt.Sprintf("Close %d %s", e.Code, e.Text))
		case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
			return "RST"
		case errors.Is(err, net.ErrClosed):
			return "" // it has left by itself
		case strings.HasPrefix(err.Error(), "remote error: tls: "):
			return "a TLS alert"
		}
		return err.Error()
	}
}

// lastByte is lastWord of one end of a tunnel.
func lastByte(c net.Conn) string {
	defer c.Close()
	if _, err := io.Copy(io.Discard, c); err != nil {
		return err.Error()
	}
	return "FIN"
}

func classOf(code int) string {
	switch {
	case code == 0:
		return "none"
	case code >= 3000:
		return fmt.Sprintf("%dxxx", code/1000)
	}
	return fmt.Sprint(code)
}

// lockedBuffer is written to by several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
