package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"

	"wsproxy/lifecycle"
)

// Control changes the process.
type Control interface {
	// Reload reads the configuration again and puts it in force, or says why not. ctx bounds the wait for
	// another change.
	Reload(ctx context.Context, cause string) lifecycle.Reload

	// Drain asks open connections to leave, and returns how many. The process goes on.
	Drain(Drain) (connections int)

	// Routes are those in force, in the order of the configuration.
	Routes() []Route
}

// Drain says which open connections leave, and how.
type Drain struct {
	Route    string   `json:"route"`    // limits it; empty: no
	Upstream string   `json:"upstream"` // limits it; empty: no
	Share    float64  `json:"share"`    // of those, at random; 0: all
	Spread   *float64 `json:"spread"`   // seconds; null: the configuration's
	Code     int      `json:"code"`     // for clients; 0: the configuration's
	Reason   *string  `json:"reason"`   // null: the configuration's
}

// Route is a route in force.
type Route struct {
	Name     string `json:"name"`
	Match    string `json:"match"`
	Upstream string `json:"upstream"`
	OnChange string `json:"on_change"`
	Since    int    `json:"since"`    // generation from which on it is as it is
	Open     int    `json:"open"`     // connections
	Outdated int    `json:"outdated"` // of these, from before it was changed
}

// changeTimeout bounds a change that has to wait for another one.
const changeTimeout = 20 * time.Second

type reloadDocument struct {
	Generation    int      `json:"generation"` // in force now
	ChangedRoutes []string `json:"changed_routes"`
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	if err := readEmpty(w, r); err != nil {
		problem{Status: http.StatusBadRequest, Detail: err.Error()}.write(w)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), changeTimeout)
	defer cancel()
	done := s.Control.Reload(ctx, "admin API")
	switch done.Failure {
	case lifecycle.ReloadTaken:
		writeJSON(w, reloadDocument{done.Generation, append([]string{}, done.Changed...)})
	case lifecycle.ReloadState:
		problem{Status: http.StatusConflict, Detail: done.Err.Error()}.write(w)
	default:
		problem{Status: http.StatusUnprocessableEntity, Detail: done.Err.Error(), Reason: done.Failure.String()}.write(w)
	}
}

// readEmpty takes a request without a body, or with an empty document.
func readEmpty(w http.ResponseWriter, r *http.Request) error {
	if err := readJSON(w, r, new(struct{})); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("want no body, or {}: %w", err)
	}
	return nil
}

type drainDocument struct {
	Connections int `json:"connections"` // asked to leave
}

const greatestSpread = 24 * 60 * 60 // seconds

func (s *Server) drain(w http.ResponseWriter, r *http.Request) {
	var d Drain
	err := readJSON(w, r, &d)
	switch {
	case err != nil:
	case d.Share < 0 || d.Share > 1:
		err = errors.New("share must be from 0 to 1")
	case d.Spread != nil && !(*d.Spread >= 0 && *d.Spread <= greatestSpread):
		err = fmt.Errorf("spread must be from 0 to %d seconds", greatestSpread)
	case d.Code != 0:
		err = checkCode(d.Code)
	}
	if err == nil && d.Reason != nil {
		err = checkReason(*d.Reason)
	}
	if err != nil {
		problem{Status: http.StatusBadRequest, Detail: err.Error()}.write(w)
		return
	}
	n := s.Control.Drain(d)
	s.log().Warn("connections are drained", "route", d.Route, "upstream", d.Upstream, "share", d.Share, "connections", n)
	writeStatus(w, http.StatusAccepted, drainDocument{n})
}

func (s *Server) routesInForce(w http.ResponseWriter, r *http.Request) {
	if s.Control == nil {
		notFound(w, r)
		return
	}
	writeJSON(w, list[Route]{Items: append([]Route{}, s.Control.Routes()...)})
}

type closingDocument struct {
	Closed int `json:"closed"` // connections asked to end
}

// closeOne ends one connection, or has it end as soon as it is open.
func (s *Server) closeOne(w http.ResponseWriter, r *http.Request) {
	request, err := stopRequest(r.URL.Query())
	c := s.Registry.Get(r.PathValue("id"))
	switch {
	case err != nil:
		problem{Status: http.StatusBadRequest, Detail: err.Error()}.write(w)
	case c == nil:
		problem{Status: http.StatusNotFound, Detail: "no live connection has this id"}.write(w)
	default:
		c.Stop(request)
		s.log().Warn("a connection is closed", "connection.id", c.ID)
		writeStatus(w, http.StatusAccepted, closingDocument{1})
	}
}

// closeMany ends the connections that a filter finds. It wants one: everything at once is what a drain is for.
func (s *Server) closeMany(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	request, err := stopRequest(values)
	values.Del("code")
	values.Del("reason")
	var q *query
	if err == nil {
		q, err = parseQuery(values)
	}
	if err == nil && len(q.routes)+len(q.upstreams)+len(q.phases)+len(q.clients) == 0 {
		err = errors.New("name a route, upstream, phase or client")
	}
	if err != nil {
		problem{Status: http.StatusBadRequest, Detail: err.Error()}.write(w)
		return
	}
	n := 0
	for c := range s.Registry.All() {
		if q.matches(c) {
			c.Stop(request)
			n++
		}
	}
	s.log().Warn("connections are closed", "filter", values.Encode(), "connections", n)
	writeStatus(w, http.StatusAccepted, closingDocument{n})
}

func stopRequest(values url.Values) (lifecycle.StopRequest, error) {
	request := lifecycle.StopRequest{Cause: lifecycle.CauseAdmin, Reason: values.Get("reason")}
	if values.Has("code") {
		code, err := strconv.Atoi(values.Get("code"))
		if err != nil {
			return request, errors.New("code must be a number")
		}
		if err := checkCode(code); err != nil {
			return request, err
		}
		request.Code = code
	}
	return request, checkReason(request.Reason)
}

// checkCode lets pass what may go on the wire (RFC 6455 §7.4 and the IANA registry).
func checkCode(code int) error {
	if 1000 <= code && code <= 1003 || 1007 <= code && code <= 1014 || 3000 <= code && code <= 4999 {
		return nil
	}
	return errors.New("code must be 1000 to 1003, 1007 to 1014 or 3000 to 4999")
}

// maxReason is what a Close frame has room for (RFC 6455 §5.5).
const maxReason = 123

func checkReason(reason string) error {
	if len(reason) > maxReason || !utf8.ValidString(reason) {
		return fmt.Errorf("reason must be at most %d bytes of UTF-8", maxReason)
	}
	return nil
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
