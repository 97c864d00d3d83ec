package telemetry

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// origin is where the set-up of one signal comes from.
type origin uint8

const (
	originNone        origin = iota // the signal is not exported
	originEnvironment               // the OTEL_ variables
	originBlock                     // Settings.OTLP
)

// origin decides a signal's. The environment wins where it names an exporter or an endpoint; where it
// asks for otlp and names no endpoint, the block's is meant if there is one.
func (s *Settings) origin(sig signal) origin {
	block := originNone
	if s.OTLP.Endpoint != "" && (sig != signalLogs || !s.NoLogs) {
		block = originBlock
	}
	exporter, endpoint := s.exporter(sig), s.endpoint(sig)
	switch {
	case exporter == "none":
		return originNone
	case endpoint != "":
		return originEnvironment
	case exporter == "":
		return block
	case exporter == "otlp" && block == originBlock:
		return originBlock
	}
	return originEnvironment
}

func (s *Settings) exporter(sig signal) string {
	return strings.TrimSpace(s.Env("OTEL_" + strings.ToUpper(sig.String()) + "_EXPORTER"))
}

func (s *Settings) endpoint(sig signal) string {
	return cmp.Or(s.Env("OTEL_EXPORTER_OTLP_"+strings.ToUpper(sig.String())+"_ENDPOINT"), s.Env("OTEL_EXPORTER_OTLP_ENDPOINT"))
}

// environmentProtocol is the OTLP protocol that the environment asks for.
func (s *Settings) environmentProtocol(sig signal) string {
	return cmp.Or(s.Env("OTEL_EXPORTER_OTLP_"+strings.ToUpper(sig.String())+"_PROTOCOL"), s.Env("OTEL_EXPORTER_OTLP_PROTOCOL"))
}

// tuned says whether the environment says how exporters send logs over HTTP. What makes the requests must
// be the library's then.
func (s *Settings) tuned() bool {
	for _, what := range []string{"TIMEOUT", "COMPRESSION", "CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"} {
		if s.Env("OTEL_EXPORTER_OTLP_"+what) != "" || s.Env("OTEL_EXPORTER_OTLP_LOGS_"+what) != "" {
			return true
		}
	}
	return false
}

// limitsRecords says whether the environment limits what a log record may have: the SDK knows how to cut.
func (s *Settings) limitsRecords() bool {
	return s.Env("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT") != "" || s.Env("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT") != ""
}

func (s *Settings) disabled() bool {
	return strings.EqualFold(strings.TrimSpace(s.Env("OTEL_SDK_DISABLED")), "true")
}

// size is a positive number from the environment, or def.
func (s *Settings) size(name string, def int) int {
	if n, err := strconv.Atoi(strings.TrimSpace(s.Env(name))); err == nil && n > 0 {
		return n
	}
	return def
}

// sampler is OTEL_TRACES_SAMPLER's, else a ratio of the roots. The SDK would read the variable itself,
// but gives no way to wrap what it finds.
func (s *Settings) sampler() (sdktrace.Sampler, error) {
	ratio := *s.Ratio
	name := strings.ToLower(strings.TrimSpace(s.Env("OTEL_TRACES_SAMPLER")))
	if arg := strings.TrimSpace(s.Env("OTEL_TRACES_SAMPLER_ARG")); name != "" {
		ratio = 1
		if arg != "" && strings.HasSuffix(name, "traceidratio") {
			var err error
			if ratio, err = strconv.ParseFloat(arg, 64); err != nil || ratio < 0 || ratio > 1 {
				return nil, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG: %q is not a ratio from 0 to 1", arg)
			}
		}
	}
	switch name {
	case "always_on":
		return sdktrace.AlwaysSample(), nil
	case "always_off":
		return sdktrace.NeverSample(), nil
	case "traceidratio":
		return sdktrace.TraceIDRatioBased(ratio), nil
	case "parentbased_always_on":
		return sdktrace.ParentBased(sdktrace.AlwaysSample()), nil
	case "parentbased_always_off":
		return sdktrace.ParentBased(sdktrace.NeverSample()), nil
	case "", "parentbased_traceidratio":
		return sdktrace.ParentBased(sdktrace.TraceIDRatioBased(ratio)), nil
	}
	return nil, fmt.Errorf("OTEL_TRACES_SAMPLER: %q is not known", name)
}

// linkedSampler samples the roots that stand for a part of a sampled connection, and leaves the rest
// to the sampler under it.
type linkedSampler struct{ sdktrace.Sampler }

// linkedKey marks the ctx of such a root.
type linkedKey struct{}

func (l linkedSampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if linked, _ := p.ParentContext.Value(linkedKey{}).(bool); linked {
		return sdktrace.SamplingResult{Decision: sdktrace.RecordAndSample}
	}
	return l.Sampler.ShouldSample(p)
}
