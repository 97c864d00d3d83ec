package config

import (
	"crypto/tls"
	"log/slog"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// choice is a text of a closed set. later are the values that are designed but not in this version.
type choice interface {
	choices() (now, later []string)
}

func setChoice(v reflect.Value, c choice, text string) error {
	now, later := c.choices()
	if slices.Contains(now, text) {
		v.SetString(text)
		return nil
	}
	want := oneOf(now)
	if slices.Contains(later, text) {
		return &wanted{what: want + ": " + text + " is not in this version"}
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return &wanted{what: want} // a number is not misspelt
	}
	return &wanted{what: want, suggestion: closest(text, now)}
}

// oneOf lists values as a sentence does: x, y or z.
func oneOf(values []string) string {
	last := len(values) - 1
	if last < 1 {
		return strings.Join(values, "")
	}
	return strings.Join(values[:last], ", ") + " or " + values[last]
}

func texts[T ~string](values ...T) []string {
	list := make([]string, len(values))
	for i, value := range values {
		list[i] = string(value)
	}
	return list
}

// Mode is what a listener does with what it accepts.
type Mode string

// ModeReverse puts the listener in front of upstreams; ModeForward lets clients name their targets.
const (
	ModeReverse Mode = "reverse"
	ModeForward Mode = "forward"
)

func (Mode) choices() (now, later []string) { return texts(ModeReverse, ModeForward), nil }

// TLSVersion is the least version of TLS that is spoken.
type TLSVersion string

// The versions that are still safe to speak.
const (
	TLSVersion12 TLSVersion = "1.2"
	TLSVersion13 TLSVersion = "1.3"
)

func (TLSVersion) choices() (now, later []string) { return texts(TLSVersion12, TLSVersion13), nil }

// Uint16 is the version as crypto/tls numbers it.
func (v TLSVersion) Uint16() uint16 {
	if v == TLSVersion13 {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

// PlainHTTP is what becomes of a request that is no upgrade.
type PlainHTTP string

// A plain request is passed on, or answered with 426.
const (
	PlainHTTPProxy  PlainHTTP = "proxy"
	PlainHTTPReject PlainHTTP = "reject"
)

func (PlainHTTP) choices() (now, later []string) { return texts(PlainHTTPProxy, PlainHTTPReject), nil }

// Framing is how much of RFC 6455's framing is held against the endpoints.
type Framing string

// Violations end the connection, are counted, or are not looked for.
const (
	FramingStrict  Framing = "strict"
	FramingObserve Framing = "observe"
	FramingOff     Framing = "off"
)

func (Framing) choices() (now, later []string) {
	return texts(FramingStrict, FramingObserve, FramingOff), nil
}

// UpstreamLost is what a client is told when its upstream ended without a Close frame.
type UpstreamLost string

// A close code, or the end of the stream without one.
const (
	UpstreamLost1012 UpstreamLost = "1012"
	UpstreamLost1011 UpstreamLost = "1011"
	UpstreamLost1013 UpstreamLost = "1013"
	UpstreamLost1014 UpstreamLost = "1014"
	UpstreamLostFIN  UpstreamLost = "fin"
)

func (UpstreamLost) choices() (now, later []string) {
	return texts(UpstreamLost1012, UpstreamLost1011, UpstreamLost1013, UpstreamLost1014, UpstreamLostFIN), nil
}

// Code is the close code to send, and 0 for none.
func (l UpstreamLost) Code() uint16 {
	return map[UpstreamLost]uint16{
		UpstreamLost1012: 1012, UpstreamLost1011: 1011, UpstreamLost1013: 1013, UpstreamLost1014: 1014,
	}[l]
}

// OnChange is what becomes of a route's open connections when a reload changes or removes it.
type OnChange string

// They stay as they are, are asked to leave over a time, or all at once.
const (
	OnChangeKeep  OnChange = "keep"
	OnChangeDrain OnChange = "drain"
	OnChangeClose OnChange = "close"
)

func (OnChange) choices() (now, later []string) {
	return texts(OnChangeKeep, OnChangeDrain, OnChangeClose), nil
}

// OnExcess is what becomes of a client that sends more per second than it may.
type OnExcess string

// The connection ends, or the client is read no faster.
const (
	OnExcessClose    OnExcess = "close"
	OnExcessThrottle OnExcess = "throttle"
)

func (OnExcess) choices() (now, later []string) { return texts(OnExcessClose, OnExcessThrottle), nil }

// Balance is how one of an upstream's targets is chosen.
type Balance string

// The target with the fewest open sockets, the next one, the less busy of two, or the one of a key.
const (
	BalanceLeastConnections Balance = "least_connections"
	BalanceRoundRobin       Balance = "round_robin"
	BalanceRandomTwo        Balance = "random_two"
	BalanceHash             Balance = "hash"
)

func (Balance) choices() (now, later []string) {
	return texts(BalanceLeastConnections, BalanceRoundRobin, BalanceRandomTwo, BalanceHash), nil
}

// RetryStatus is an upstream's answer after which another target is tried.
type RetryStatus string

// The answers of gateways, and of applications that are not ready.
const (
	RetryStatus502 RetryStatus = "502"
	RetryStatus503 RetryStatus = "503"
	RetryStatus504 RetryStatus = "504"
)

func (RetryStatus) choices() (now, later []string) {
	return texts(RetryStatus502, RetryStatus503, RetryStatus504), nil
}

// Code is the status.
func (s RetryStatus) Code() int {
	return map[RetryStatus]int{RetryStatus502: 502, RetryStatus503: 503, RetryStatus504: 504}[s]
}

// SameSite says with whose requests a browser sends a cookie.
type SameSite string

// With those of the same site, also when a link led there, with those that began there, or with all.
const (
	SameSiteLax    SameSite = "lax"
	SameSiteStrict SameSite = "strict"
	SameSiteNone   SameSite = "none"
)

func (SameSite) choices() (now, later []string) {
	return texts(SameSiteLax, SameSiteStrict, SameSiteNone), nil
}

// Resolve is who looks a target's name up that is reached through an egress.
type Resolve string

// ResolveAuto is what the egress's scheme says, or local for forward traffic.
const (
	ResolveAuto   Resolve = "auto"
	ResolveLocal  Resolve = "local"
	ResolveRemote Resolve = "remote"
)

func (Resolve) choices() (now, later []string) {
	return texts(ResolveAuto, ResolveLocal, ResolveRemote), nil
}

// ProxyProtocol is the version of a PROXY protocol header.
type ProxyProtocol string

// No header, the text of version 1, or the binary version 2.
const (
	ProxyProtocolOff ProxyProtocol = "off"
	ProxyProtocolV1  ProxyProtocol = "v1"
	ProxyProtocolV2  ProxyProtocol = "v2"
)

func (ProxyProtocol) choices() (now, later []string) {
	return texts(ProxyProtocolOff, ProxyProtocolV1, ProxyProtocolV2), nil
}

// Number is the version, 0 for none.
func (p ProxyProtocol) Number() int {
	return map[ProxyProtocol]int{ProxyProtocolV1: 1, ProxyProtocolV2: 2}[p]
}

// Engine is what moves the bytes of open connections.
type Engine string

// EngineAuto takes the fastest engine that the system has: EngineLoops on Linux.
const (
	EngineAuto       Engine = "auto"
	EngineLoops      Engine = "loops"
	EngineGoroutines Engine = "goroutines"
)

func (Engine) choices() (now, later []string) {
	return texts(EngineAuto, EngineLoops, EngineGoroutines), nil
}

// LogLevel is the least severity that is logged.
type LogLevel string

// The levels, the most severe first.
const (
	LogLevelError  LogLevel = "error"
	LogLevelWarn   LogLevel = "warn"
	LogLevelNotice LogLevel = "notice"
	LogLevelInfo   LogLevel = "info"
	LogLevelDebug  LogLevel = "debug"
)

// LogLevels lists them in that order.
func LogLevels() []LogLevel {
	return []LogLevel{LogLevelError, LogLevelWarn, LogLevelNotice, LogLevelInfo, LogLevelDebug}
}

func (LogLevel) choices() (now, later []string) { return texts(LogLevels()...), nil }

// Slog is the level on slog's scale. Notice is 1 there, which OpenTelemetry's scale has as 10, one above info.
func (l LogLevel) Slog() slog.Level {
	return map[LogLevel]slog.Level{
		LogLevelError: slog.LevelError, LogLevelWarn: slog.LevelWarn, LogLevelNotice: slog.LevelInfo + 1,
		LogLevelInfo: slog.LevelInfo, LogLevelDebug: slog.LevelDebug,
	}[l]
}

// LogFormat is the shape of a log line.
type LogFormat string

// LogFormatAuto is text on a terminal and JSON elsewhere.
const (
	LogFormatAuto LogFormat = "auto"
	LogFormatText LogFormat = "text"
	LogFormatJSON LogFormat = "json"
)

func (LogFormat) choices() (now, later []string) {
	return texts(LogFormatAuto, LogFormatText, LogFormatJSON), nil
}

// OTLPProtocol is how OTLP is carried, named as in OTEL_EXPORTER_OTLP_PROTOCOL.
type OTLPProtocol string

// The two encodings that collectors accept everywhere.
const (
	OTLPProtocolGRPC OTLPProtocol = "grpc"
	OTLPProtocolHTTP OTLPProtocol = "http/protobuf"
)

func (OTLPProtocol) choices() (now, later []string) {
	return texts(OTLPProtocolGRPC, OTLPProtocolHTTP), []string{"http/json"}
}

// SpanPlacement is where the spans of an open connection belong.
type SpanPlacement string

// In the trace of the handshake, or as roots linked to it.
const (
	SpanPlacementSameTrace SpanPlacement = "same_trace"
	SpanPlacementLinked    SpanPlacement = "linked"
)

func (SpanPlacement) choices() (now, later []string) {
	return texts(SpanPlacementSameTrace, SpanPlacementLinked), nil
}

// HistogramKind is what a histogram's buckets are, where a policy says so.
type HistogramKind string

// HistogramExponential has buckets that fit what is measured.
const HistogramExponential HistogramKind = "exponential"

func (HistogramKind) choices() (now, later []string) { return texts(HistogramExponential), nil }

// LogComponent is a part of wsproxy whose lines have a level of their own.
type LogComponent string

// The parts that log.
const (
	LogAccess     LogComponent = "access"     // a line for each connection
	LogAdmin      LogComponent = "admin"      //
	LogConnection LogComponent = "connection" // each phase, at debug
	LogProxy      LogComponent = "proxy"      // handshakes and plain requests
	LogRelay      LogComponent = "relay"      //
	LogSystem     LogComponent = "system"     // states of the process
	LogTelemetry  LogComponent = "telemetry"  // exports
	LogTLS        LogComponent = "tls"        // certificates
	LogUpstream   LogComponent = "upstream"   // targets: where they are and whether they are fit
)

// LogComponents lists them.
func LogComponents() []string {
	return texts(LogAccess, LogAdmin, LogConnection, LogProxy, LogRelay, LogSystem, LogTelemetry, LogTLS, LogUpstream)
}

// Kept is why a connection is traced that the sampler dropped.
type Kept string

// What a connection may turn out to be.
const (
	KeptFailed   Kept = "failed"
	KeptAbnormal Kept = "abnormal"
	KeptSlow     Kept = "slow"
)

func (Kept) choices() (now, later []string) { return texts(KeptFailed, KeptAbnormal, KeptSlow), nil }
