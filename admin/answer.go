package admin

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"time"
)

// list is a page of a listing. Next is null on the last one.
type list[T any] struct {
	Items []T     `json:"items"`
	Next  *string `json:"next"`
}

// timestamp is RFC 3339 with all nine digits of the second, so that timestamps sort as text, too.
type timestamp time.Time

func (t timestamp) MarshalText() ([]byte, error) {
	return time.Time(t).UTC().AppendFormat(nil, "2006-01-02T15:04:05.000000000Z07:00"), nil
}

// orNull is null for a text that is not there.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// problem is an error's answer, RFC 9457.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	State  string `json:"state,omitempty"`  // of the process, when it is not ready
	Reason string `json:"reason,omitempty"` // of a closed set, where there is one
}

func (p problem) write(w http.ResponseWriter) {
	p.Title = http.StatusText(p.Status)
	w.Header().Set("Content-Type", "application/problem+json")
	send(w, p.Status, p)
}

func writeJSON(w http.ResponseWriter, document any) { writeStatus(w, http.StatusOK, document) }

func writeStatus(w http.ResponseWriter, status int, document any) {
	w.Header().Set("Content-Type", "application/json")
	send(w, status, document)
}

func send(w http.ResponseWriter, status int, document any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(document); err != nil {
		panic(err) // our own documents are made of plain values
	}
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

// answerWriter knows whether an answer has begun.
type answerWriter struct {
	http.ResponseWriter
	begun bool
}

func (w *answerWriter) WriteHeader(status int) {
	w.begun = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *answerWriter) Write(p []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(p)
}

// Hijack is for WebSockets.
func (w *answerWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.begun = true
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// Unwrap is for http.ResponseController.
func (w *answerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
