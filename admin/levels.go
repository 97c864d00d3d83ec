package admin

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
)

// LogLevels is the least severity that is logged: error, warn, notice, info or debug.
type LogLevels struct {
	Level      string            `json:"level"`
	Components map[string]string `json:"components"`
	Routes     map[string]string `json:"routes"`
}

// Logs is what logs.
type Logs interface {
	LogLevels() LogLevels

	// SetLogLevels changes the levels that are given; an empty one of a component or route takes it back.
	// Its error says what is wrong with them, and then nothing changes.
	SetLogLevels(LogLevels) error
}

// maxChange bounds the body of a request that changes something.
const maxChange = 64 << 10

func (s *Server) logLevel(w http.ResponseWriter, r *http.Request) {
	if s.Logs == nil {
		notFound(w, r)
		return
	}
	if r.Method == http.MethodPut {
		var change LogLevels
		err := readJSON(w, r, &change)
		if err == nil {
			err = s.Logs.SetLogLevels(change)
		}
		if err != nil {
			problem{Status: http.StatusBadRequest, Detail: err.Error()}.write(w)
			return
		}
		s.log().Warn("log levels were changed", "level", change.Level, "components", change.Components, "routes", change.Routes)
	}
	writeJSON(w, s.Logs.LogLevels())
}

// readJSON reads a document with no keys but v's.
func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxChange))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the document")
	}
	return nil
}

// foreign says whether a change may have been sent by a page of another origin: a browser sends those
// without asking only as a form or as text, and names their origin.
func foreign(r *http.Request) bool {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return true
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || u.Host != r.Host
}
