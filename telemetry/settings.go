package telemetry

import (
	"cmp"
	"crypto/tls"
	"io"
	"log/slog"
	"os"
	"time"

	"wsproxy/lifecycle"
)

// Settings is what telemetry needs from the rest of the program. The zero value emits nothing but
// /metrics and lines on standard error.
type Settings struct {
	ServiceName string            // empty: wsproxy
	Version     string            // of the program
	Resource    map[string]string // further resource attributes

	OTLP     OTLP
	NoLogs   bool          // log records do not go to OTLP's endpoint
	Ratio    *float64      // share of traces sampled; nil: all
	Keep     Keep          // what is traced whatever the sampling
	Linked   bool          // transfer and close spans are roots linked to the SERVER span, for backends that limit a trace's age
	Segments Segments      //
	Interval time.Duration // between exports of metrics; 0: 15 s
	Policies []Policy      // which metrics are exported how; SetPolicies changes them later
	Flush    time.Duration // how long each signal may take to flush at shutdown; 0: 5 s

	// Env looks up an environment variable; nil: os.Getenv. It decides which signals are on and how.
	// The exporters, batch processors, propagators and otelconf read their own details (headers,
	// timeouts, queue sizes) from the process's environment.
	Env func(string) string

	Registry *lifecycle.Registry // summed up at every collection; nil: no sums
	System   *lifecycle.System   // nil: no system states

	// Known names. A metric has no other: what is not listed counts as _OTHER.
	Routes         []Route
	Hosts          []string // host names of targets and egress proxies
	ViolationKinds []string // by the number that lifecycle.Flow.Violation takes; an empty one is not reported

	Certificates   func() []Certificate      // nil: none
	DrainRemaining func() int                // connections that a drain waits for; nil: 0
	Limits         func() map[string]int     // of connections, by route; the process's under ""; nil: none
	Workers        func() []lifecycle.Worker // event loops; nil: none
	DrainCode      int                       // close code of a drain; 0: 1012

	Upstreams func() []lifecycle.UpstreamStatus // as they are now; nil: none

	Log Log
}

// OTLP is the collector of the configuration block. Without an endpoint nothing is exported unless
// the environment says so.
type OTLP struct {
	Endpoint string            // host:port, or a URL whose scheme says whether TLS is used
	Protocol string            // grpc or http/protobuf; empty: http/protobuf
	Headers  map[string]string // never logged
	Insecure bool              // no TLS, where the endpoint has no scheme
	TLS      *tls.Config       // nil: the system's roots
}

// Segments says how a transfer is cut into spans. Each is twice as long as the one before.
type Segments struct {
	First   time.Duration // 0: 30 s
	Longest time.Duration // 0: 1 h
	Off     bool          // one span for the whole transfer
}

// Route is a configured route and where it leads.
type Route struct {
	Name     string
	Upstream string
	Mode     lifecycle.Mode
	LostCode int  // close code for clients whose upstream went away; 0: 1012, lifecycle.NoCode: none
	Identity bool // clients are known when they come back
}

// Certificate is a certificate in use.
type Certificate struct {
	Name     string
	NotAfter time.Time
}

// Log says where lines go and what they look like.
type Log struct {
	Writer io.Writer // nil: standard error
	Format string    // text or json; empty: text on a terminal, else json
	Opened bool      // an access line at open, too

	// Least levels, as in Levels; Telemetry.SetLevels changes them later.
	Level      slog.Level
	Components map[string]slog.Level
	Routes     map[string]slog.Level
}

func (s Settings) withDefaults() Settings {
	s.ServiceName = cmp.Or(s.ServiceName, "wsproxy")
	s.Interval = cmp.Or(s.Interval, 15*time.Second)
	s.Flush = cmp.Or(s.Flush, 5*time.Second)
	s.Segments.First = cmp.Or(s.Segments.First, 30*time.Second)
	s.Segments.Longest = max(cmp.Or(s.Segments.Longest, time.Hour), s.Segments.First)
	if s.Ratio == nil {
		s.Ratio = new(1.0)
	}
	if s.Env == nil {
		s.Env = os.Getenv
	}
	if s.Log.Writer == nil {
		s.Log.Writer = os.Stderr
	}
	if s.Registry == nil {
		s.Registry = new(lifecycle.Registry)
	}
	if s.Workers == nil {
		s.Workers = func() []lifecycle.Worker { return nil }
	}
	if s.Upstreams == nil {
		s.Upstreams = func() []lifecycle.UpstreamStatus { return nil }
	}
	if s.DrainRemaining == nil {
		s.DrainRemaining = func() int { return 0 }
	}
	if s.Limits == nil {
		s.Limits = func() map[string]int { return nil }
	}
	if s.Certificates == nil {
		s.Certificates = func() []Certificate { return nil }
	}
	return s
}
