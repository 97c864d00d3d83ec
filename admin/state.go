package admin

import (
	"net/http"
	"runtime"
	"runtime/metrics"
	"time"

	"wsproxy/lifecycle"
)

type stateDocument struct {
	State       string         `json:"state"`
	Since       *timestamp     `json:"since"`
	Version     string         `json:"version"`
	Generation  int            `json:"generation"` // of the configuration
	Uptime      float64        `json:"uptime"`
	Open        int            `json:"open"`        // upgraded and not yet closed
	Connections map[string]int `json:"connections"` // by phase
	History     []transition   `json:"history"`
	Workers     []worker       `json:"workers"` // event loops
	Runtime     resources      `json:"runtime"`
}

type transition struct {
	State string    `json:"state"`
	At    timestamp `json:"at"`
	Cause *string   `json:"cause"`
}

type worker struct {
	ID          int     `json:"id"`
	Connections int     `json:"connections"`
	Busy        float64 `json:"busy"` // seconds in all
	Wakeups     uint64  `json:"wakeups"`
	Events      uint64  `json:"events"`
	LongestTurn float64 `json:"longest_turn"` // seconds, in the last 15 to 30 s
}

// resources is what the process uses of the machine.
type resources struct {
	Go          string       `json:"go"`
	Processors  int          `json:"processors"` // GOMAXPROCS
	Goroutines  uint64       `json:"goroutines"`
	HeapBytes   uint64       `json:"heap_bytes"`   // live and not yet collected objects
	MemoryBytes uint64       `json:"memory_bytes"` // all that the Go runtime has taken from the system
	GCCycles    uint64       `json:"gc_cycles"`
	Descriptors *descriptors `json:"descriptors"` // null where they are not known
}

// descriptors are the process's file descriptors.
type descriptors struct {
	Open  int    `json:"open"`
	Limit uint64 `json:"limit"` // RLIMIT_NOFILE
}

type healthDocument struct {
	Status string `json:"status"`
}

type readyDocument struct {
	State string `json:"state"`
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, healthDocument{"ok"})
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	state := s.System.State().String()
	if !s.System.Ready() {
		problem{Status: http.StatusServiceUnavailable, State: state}.write(w)
		return
	}
	writeJSON(w, readyDocument{state})
}

func (s *Server) state(w http.ResponseWriter, _ *http.Request) {
	sum := s.Registry.Snapshot()
	d := stateDocument{
		State:       lifecycle.StateNone.String(),
		Version:     s.Version,
		Generation:  s.Registry.Generation(),
		Open:        sum.Open(),
		Connections: make(map[string]int),
		History:     []transition{},
		Workers:     s.workers(),
		Runtime:     usage(),
	}
	for p, n := range sum.Phases {
		d.Connections[p.String()] = n
	}
	history := s.System.History()
	for _, t := range history {
		d.History = append(d.History, transition{t.To.String(), timestamp(t.At), orNull(t.Cause)})
	}
	if len(history) > 0 {
		latest := d.History[len(d.History)-1]
		d.State, d.Since = latest.State, &latest.At
		d.Uptime = time.Since(history[0].At).Seconds()
	}
	writeJSON(w, d)
}

func (s *Server) workers() []worker {
	all := []worker{}
	if s.Workers == nil {
		return all
	}
	for _, w := range s.Workers() {
		all = append(all, worker{w.ID, w.Connections, w.Busy.Seconds(), w.Wakeups, w.Events, w.LongestTurn.Seconds()})
	}
	return all
}

func usage() resources {
	samples := []metrics.Sample{
		{Name: "/sched/goroutines:goroutines"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/gc/cycles/total:gc-cycles"},
	}
	metrics.Read(samples) // stops nothing, unlike runtime.ReadMemStats
	return resources{
		Go:          runtime.Version(),
		Processors:  runtime.GOMAXPROCS(0),
		Goroutines:  samples[0].Value.Uint64(),
		HeapBytes:   samples[1].Value.Uint64(),
		MemoryBytes: samples[2].Value.Uint64(),
		GCCycles:    samples[3].Value.Uint64(),
		Descriptors: openDescriptors(),
	}
}
