//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"testing"
)

type jaeger struct {
	*process
	grpc, query, health string
}

func startJaeger(t *testing.T, h *house, p *prometheus) *jaeger {
	t.Helper()
	j := &jaeger{grpc: h.ports.address(t), query: h.ports.address(t), health: h.ports.address(t)}
	env := []string{
		"JAEGER_OTLP_GRPC_ENDPOINT=" + j.grpc, "JAEGER_OTLP_HTTP_ENDPOINT=" + h.ports.address(t),
		"JAEGER_QUERY_HTTP_ENDPOINT=" + j.query, "JAEGER_QUERY_GRPC_ENDPOINT=" + h.ports.address(t),
		"JAEGER_HEALTH_ENDPOINT=" + j.health, "PROMETHEUS_URL=" + p.url,
	}
	j.process = start(t, "jaeger", env, h.programs["jaeger"], "--config", configuration("jaeger.yaml"))
	return j
}

// trace is what Jaeger has of a trace, from its API that answers in OTLP.
func (j *jaeger) trace(ctx context.Context, id string) (*trace, error) {
	if id == "" {
		return nil, errors.New("no trace id")
	}
	body, err := get(ctx, "http://"+j.query+"/api/v3/traces/"+id)
	if err != nil {
		return nil, err
	}
	return parseTrace(id, body)
}

// await returns the trace once it is as the test wants it.
func (j *jaeger) await(t testing.TB, id string, complete func(*trace) error) *trace {
	t.Helper()
	var last *trace
	err := attempt(t.Context(), patience, func(ctx context.Context) error {
		found, err := j.trace(ctx, id)
		if err != nil {
			return err
		}
		last = found
		return complete(found)
	})
	if err != nil {
		t.Fatalf("trace %s in Jaeger: %v\n%s", id, err, last)
	}
	return last
}

// spansNamed wants at least one span of each name.
func spansNamed(names ...string) func(*trace) error {
	return func(t *trace) error {
		for _, n := range names {
			if t.span(n) == nil {
				return fmt.Errorf("no span %q", n)
			}
		}
		return nil
	}
}

// services are those that Jaeger knows.
func (j *jaeger) services(ctx context.Context) ([]string, error) {
	var answer struct{ Data []string }
	body, err := get(ctx, "http://"+j.query+"/api/services")
	if err != nil {
		return nil, err
	}
	return answer.Data, json.Unmarshal(body, &answer)
}

// documents are all traces of a service as the page shows them, and their ids.
func (j *jaeger) documents(ctx context.Context, service string) (ids []string, body []byte, err error) {
	var answer struct {
		Data []struct{ TraceID string }
	}
	body, err = get(ctx, "http://"+j.query+"/api/traces?limit=10000&lookback=1h&service="+url.QueryEscape(service))
	if err != nil {
		return nil, nil, err
	}
	err = json.Unmarshal(body, &answer)
	for _, d := range answer.Data {
		ids = append(ids, d.TraceID)
	}
	return ids, body, err
}
