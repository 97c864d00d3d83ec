package admin

import (
	"net/http"
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
