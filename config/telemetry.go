package config

import (
	"fmt"
	"math"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Telemetry is what is exported to OpenTelemetry.
type Telemetry struct {
	// The `service.name` of everything exported.
	ServiceName string `yaml:"service_name" default:"wsproxy" required:"true" reload:"restart"`
	// Further resource attributes, as `deployment.environment.name: production`.
	Resource map[string]string `yaml:"resource" reload:"restart"`
	// Where to export to. Without this block and the `OTEL_*` variables nothing goes to the network.
	OTLP *OTLP `yaml:"otlp" reload:"restart"`
	// Spans.
	Traces Traces `yaml:"traces" reload:"restart"`
	// Metrics over OTLP. `/metrics` on the admin port is always there.
	Metrics Metrics `yaml:"metrics"`
	// Whether log records go over OTLP, too.
	Logs bool `yaml:"logs" default:"true" reload:"restart"`
}

// OTLP is where telemetry goes.
type OTLP struct {
	// The collector's URL. `https://` is TLS, `http://` is not. With `http/protobuf` it may have a path, to which `/v1/traces` and so on are added.
	Endpoint Endpoint `yaml:"endpoint" required:"true"`
	// How OTLP is carried.
	Protocol OTLPProtocol `yaml:"protocol" default:"grpc"`
	// Headers of every export request. Values may be `file:PATH` or have a `${NAME}`, and are never shown.
	Headers map[string]Secret `yaml:"headers"`
	// TLS towards an `https://` endpoint.
	TLS *ClientTLS `yaml:"tls"`
}

// Traces is how connections become spans.
type Traces struct {
	// The share of connections that are traced, where their parent has not decided.
	Ratio float64 `yaml:"ratio" default:"1.0" range:"0..1"`
	// What is traced whatever `ratio` says, once it has turned out: connections that `failed` to open, that ended `abnormal`ly, or that were `slow` to open. Without the key all three, with `[]` none.
	Keep []Kept `yaml:"keep"`
	// From how long on a connection, from its request to the 101, is slow to open.
	Slow Duration `yaml:"slow" default:"2s" range:"1ms..10m"`
	// Where the spans of an open connection belong: into the trace of its handshake, or into traces of their own that link to it, for backends that limit a trace's age.
	Connection SpanPlacement `yaml:"connection" default:"same_trace"`
	// How an open connection's time is cut into spans, so that it is seen before it ends. `off` makes one span of it, when it ends.
	Segments Segments `yaml:"segments"`
}

// Segments is how an open connection's time is cut into spans.
type Segments struct {
	// How long the first span is. Each that follows is twice as long.
	First Duration `yaml:"first" default:"30s" range:"100ms..24h"`
	// How long a span becomes at most.
	Longest Duration `yaml:"longest" default:"1h" range:"100ms..24h"`
	// Off is `segments: off`: First and Longest are 0.
	Off bool
}

func (s *Segments) turnOff() { *s = Segments{Off: true} }

// Metrics is how metrics are exported.
type Metrics struct {
	// How often metrics are sent.
	Interval Duration `yaml:"interval" default:"15s" range:"100ms..1h" reload:"restart"`
	// Which metrics are exported, and how. For each metric the first policy that matches its name holds.
	Policies []MetricPolicy `yaml:"policies"`
}

// MetricPolicy is how the metrics of some names are exported.
type MetricPolicy struct {
	// Which metrics: a name of docs/telemetry.md, with `*` for any text, as in `wsproxy.phase.*`.
	Match string `yaml:"match" required:"true"`
	// Whether they are left out, over OTLP and on `/metrics`.
	Drop bool `yaml:"drop" default:"false"`
	// The attributes that they keep; over the others sums are added up. Without the key they keep all. Gauges always do.
	Attributes []string `yaml:"attributes"`
	// What a histogram is: `exponential` has buckets that fit what is measured, and is a native histogram where Prometheus asks for one.
	Histogram HistogramKind `yaml:"histogram"`
	// The bounds of a histogram's buckets, ascending. Those of `wsproxy.message.size` are raised to the next power of four.
	Buckets []Bound `yaml:"buckets"`
	// How often they are sent over OTLP, instead of `interval` above. With that one there may be four different ones.
	Interval Duration `yaml:"interval" range:"100ms..1h"`
}

// Bound is the upper bound of a bucket.
type Bound struct{ Value float64 }

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Bound) UnmarshalText(text []byte) error {
	v, err := parseFloat(string(text))
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
		return &wanted{what: "a number from 0 up"}
	}
	b.Value = v
	return nil
}

// Endpoint is the URL of an OTLP receiver.
type Endpoint string

// UnmarshalText implements encoding.TextUnmarshaler.
func (e *Endpoint) UnmarshalText(text []byte) error {
	whole := string(text)
	u, err := url.Parse(whole)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https":
		return &wanted{what: "a URL with http:// or https://", suggestion: schemes{{"http", "4317"}}.complete(whole)}
	case u.User != nil:
		return &wanted{what: "a URL without user and password; use headers"}
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return &wanted{what: "a URL without query and fragment"}
	}
	if _, ok := withPort(u.Host, "4317"); !ok {
		return &wanted{what: "a URL such as http://collector:4317"}
	}
	*e = Endpoint(whole)
	return nil
}

func (c *Config) checkTelemetry(src *source) {
	t := c.Telemetry
	for name := range t.Resource {
		if name == "service.name" {
			src.add(key("telemetry.resource", name), "telemetry.service_name", "service.name has a key of its own")
		}
	}
	if s := t.Traces.Segments; s.First > s.Longest {
		src.add("telemetry.traces.segments.first", "", "%v is more than longest, %v", s.First, s.Longest)
	}
	for i, k := range t.Traces.Keep {
		if slices.Contains(t.Traces.Keep[:i], k) {
			src.add(item("telemetry.traces.keep", i), "", "stands there already")
		}
	}
	if t.OTLP != nil {
		t.OTLP.check(src, "telemetry.otlp")
	}
	t.Metrics.check(src)
}

// maxIntervals bounds the readers of metrics: each adds up every histogram anew.
const maxIntervals = 4

// check holds policies to themselves. Names of metrics and attributes are known to telemetry alone.
func (m *Metrics) check(src *source) {
	intervals := map[Duration]bool{m.Interval: true}
	for i, p := range m.Policies {
		at := item("telemetry.metrics.policies", i)
		if _, err := path.Match(p.Match, ""); err != nil {
			src.add(key(at, "match"), "", "got %s, want a name with * for any text", src.quote(key(at, "match"), p.Match))
		}
		if p.Buckets != nil && p.Histogram != "" {
			src.add(key(at, "buckets"), "", "an exponential histogram chooses its own; remove one of the two")
		}
		for j := 1; j < len(p.Buckets); j++ {
			if p.Buckets[j].Value <= p.Buckets[j-1].Value {
				src.add(item(key(at, "buckets"), j), "", "is not more than the one before")
			}
		}
		if p.Drop && (p.Attributes != nil || p.Histogram != "" || p.Buckets != nil || p.Interval != 0) {
			src.add(key(at, "drop"), "", "what is dropped has no other settings; remove them")
		}
		if p.Interval != 0 {
			intervals[p.Interval] = true
		}
	}
	if len(intervals) > maxIntervals {
		src.add("telemetry.metrics.policies", "", "%d different intervals with metrics.interval, want at most %d", len(intervals), maxIntervals)
	}
}

func (o *OTLP) check(src *source, at string) {
	for name := range o.Headers {
		if !validHeader(name) {
			src.add(key(key(at, "headers"), name), "", "is not the name of a header")
		}
	}
	if o.TLS != nil {
		o.TLS.check(src, key(at, "tls"))
	}
	if o.TLS != nil && strings.HasPrefix(string(o.Endpoint), "http:") {
		src.add(key(at, "tls"), "", "the endpoint uses no TLS; write https://, or remove the block")
	}
	if u, err := url.Parse(string(o.Endpoint)); err == nil && o.Protocol == OTLPProtocolGRPC && strings.Trim(u.Path, "/") != "" {
		src.add(key(at, "endpoint"), fmt.Sprintf("%s://%s", u.Scheme, u.Host), "with protocol: grpc the endpoint has no path")
	}
}

// validHeader reports whether a header can have the name: a token of RFC 9110 §5.6.2.
func validHeader(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return !strings.ContainsRune("!#$%&'*+-.^_`|~", r) && !alphanumeric(r)
	})
}
