package proxy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"wsproxy/lifecycle"
)

// statuses are what a client is answered, by the reason of the failure. What is not here is 502.
var statuses = map[lifecycle.Reason]int{
	lifecycle.ReasonRequestInvalid:  http.StatusBadRequest,
	lifecycle.ReasonUnauthenticated: http.StatusUnauthorized,
	lifecycle.ReasonForbidden:       http.StatusForbidden,
	lifecycle.ReasonOriginDenied:    http.StatusForbidden,
	lifecycle.ReasonNoRoute:         http.StatusNotFound,
	lifecycle.ReasonRequestTimeout:  http.StatusRequestTimeout,
	lifecycle.ReasonRateLimit:       http.StatusTooManyRequests,
	lifecycle.ReasonHeadersTooLarge: http.StatusRequestHeaderFieldsTooLarge,
	lifecycle.ReasonInternal:        http.StatusInternalServerError,
	lifecycle.ReasonConnectionLimit: http.StatusServiceUnavailable,
	lifecycle.ReasonDraining:        http.StatusServiceUnavailable,
	lifecycle.ReasonCanceled:        http.StatusServiceUnavailable,
	lifecycle.ReasonNoUpstream:      http.StatusServiceUnavailable,
	lifecycle.ReasonDNSTimeout:      http.StatusGatewayTimeout,
	lifecycle.ReasonConnectTimeout:  http.StatusGatewayTimeout,
	lifecycle.ReasonProxyTimeout:    http.StatusGatewayTimeout,
	lifecycle.ReasonTLSTimeout:      http.StatusGatewayTimeout,
	lifecycle.ReasonUpgradeTimeout:  http.StatusGatewayTimeout,
}

func statusFor(f *lifecycle.Failure) int {
	if f.Reason == lifecycle.ReasonRequestInvalid && f.Status == http.StatusUpgradeRequired {
		return f.Status
	}
	if status := statuses[f.Reason]; status != 0 {
		return status
	}
	return http.StatusBadGateway
}

// problem is what a refused client reads (RFC 9457). It names the phase and the reason, and nothing of
// what is behind us.
type problem struct {
	Type    string `json:"type"`
	Title   string `json:"title"`
	Status  int    `json:"status"`
	Phase   string `json:"phase"`
	Reason  string `json:"reason"`
	TraceID string `json:"trace_id,omitempty"`
}

func problemOf(c *lifecycle.Connection, f *lifecycle.Failure, status int) []byte {
	b, err := json.Marshal(problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status,
		Phase: f.Phase.String(), Reason: f.Reason.String(), TraceID: c.TraceID(),
	})
	if err != nil {
		panic(err) // strings and a number
	}
	return append(b, '\n')
}

// refuse answers a request that will not be upgraded and ends its record. The connection closes behind
// it, as a client whose upgrade was refused may already have sent frames. fw is nil where a route decided.
func (s *Server) refuse(w http.ResponseWriter, c *lifecycle.Connection, f *lifecycle.Failure, fw *Forward) {
	if f.Reason == lifecycle.ReasonClientGone {
		c.Failed(f, 0)
		if _, ours := w.(*tunnelWriter); ours {
			return
		}
		panic(http.ErrAbortHandler) // nobody is there to read an answer
	}
	// Behind its answer net/http reads the body that a request announced, which may never come.
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(refusalTimeout))
	status := fw.status(f)
	h := w.Header()
	h.Set("Connection", "close")
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	switch status {
	case http.StatusProxyAuthRequired:
		h.Set("Proxy-Authenticate", fw.challenge())
	case http.StatusUpgradeRequired:
		h.Set("Sec-WebSocket-Version", "13")
		h.Set("Upgrade", "websocket")
		h.Add("Connection", "Upgrade")
	}
	s.explain(h, f, status)
	body := problemOf(c, f, status)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
	http.NewResponseController(w).Flush() // now: whoever waits for us to close the server waits for the answer only
	c.Failed(f, status)
}

// explain tells a refused client when to come back, or with what.
func (s *Server) explain(h http.Header, f *lifecycle.Failure, status int) {
	switch status {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		h.Set("Retry-After", s.retryAfter(f))
	case http.StatusUnauthorized:
		h["Www-Authenticate"] = f.Challenges
	}
}

// retryAfter is in whole seconds, at least one. During a drain, and where there is a limit, it is another for
// each client, so that they do not all come back at once.
func (s *Server) retryAfter(f *lifecycle.Failure) string { return strconv.Itoa(s.wait(f)) }

func (s *Server) wait(f *lifecycle.Failure) int {
	switch f.Reason {
	case lifecycle.ReasonConnectionLimit, lifecycle.ReasonRateLimit:
		return 1 + seconds(f.RetryAfter+rand.N(retrySpread))
	}
	if d := s.draining.Load(); d != nil && d.Spread > 0 {
		return 1 + rand.IntN(seconds(d.Spread))
	}
	return seconds(cmp.Or(max(s.RetryAfter, 0), defaultRetryAfter))
}

const (
	defaultRetryAfter = 5 * time.Second
	retrySpread       = 4 * time.Second
)

func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// writeRefusal is refuse where there is no ResponseWriter: the request head was never complete.
func (s *Server) writeRefusal(w io.Writer, c *lifecycle.Connection, f *lifecycle.Failure, status int) {
	body := problemOf(c, f, status)
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\nConnection: close\r\n",
		status, http.StatusText(status), len(body))
	if status == http.StatusServiceUnavailable {
		fmt.Fprintf(&b, "Retry-After: %s\r\n", s.retryAfter(f))
	}
	b.WriteString("\r\n")
	b.Write(body)
	w.Write(b.Bytes()) // the client may be gone; there is nobody else to tell
}
