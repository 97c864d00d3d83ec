//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

type prometheus struct {
	*process
	url string
}

// zeros is the feature by which docker-compose.yml's Prometheus puts a zero where a counter began.
const zeros = "created-timestamp-zero-ingestion"

// startPrometheus runs one with the configuration in a folder, and the rules beside it, on the data in another.
func startPrometheus(t *testing.T, h *house, folder, data string, features ...string) *prometheus {
	t.Helper()
	address := h.ports.address(t)
	p := &prometheus{url: "http://" + address}
	p.process = start(t, "prometheus", nil, h.programs["prometheus"],
		"--config.file="+filepath.Join(folder, "prometheus.yaml"), "--storage.tsdb.path="+data, "--web.listen-address="+address,
		"--web.enable-otlp-receiver", "--enable-feature="+strings.Join(append(features, "exemplar-storage"), ","))
	return p
}

// sample is one series of an instant query.
type sample struct {
	labels map[string]string
	value  float64
}

// query evaluates an expression now.
func (p *prometheus) query(ctx context.Context, expression string) ([]sample, error) {
	var found struct {
		Result []struct {
			Metric map[string]string
			Value  [2]any
		}
	}
	if err := p.ask(ctx, "query", url.Values{"query": {expression}}, &found); err != nil {
		return nil, err
	}
	samples := make([]sample, len(found.Result))
	for i, r := range found.Result {
		text, _ := r.Value[1].(string)
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, err
		}
		samples[i] = sample{r.Metric, v}
	}
	return samples, nil
}

// number evaluates an expression that has one series at most; found is false without one.
func (p *prometheus) number(ctx context.Context, expression string) (v float64, found bool, err error) {
	samples, err := p.query(ctx, expression)
	switch {
	case err != nil || len(samples) == 0:
		return 0, false, err
	case len(samples) > 1:
		return 0, false, fmt.Errorf("%s: %d series", expression, len(samples))
	}
	return samples[0].value, true, nil
}

// want waits until an expression has a value.
func (p *prometheus) want(t testing.TB, expression string, want float64) {
	t.Helper()
	p.wantThat(t, expression, fmt.Sprint(want), func(v float64) bool { return v == want })
}

func (p *prometheus) wantThat(t testing.TB, expression, want string, ok func(float64) bool) float64 {
	t.Helper()
	var value float64
	within := patience
	if t.Failed() { // with one number wrong, the others are told without long waits
		within = 2 * time.Second
	}
	err := attempt(t.Context(), within, func(ctx context.Context) error {
		v, found, err := p.number(ctx, expression)
		value = v
		switch {
		case err != nil:
			return err
		case !found:
			return errors.New("no series")
		case !ok(v):
			return fmt.Errorf("got %v, want %s", v, want)
		}
		return nil
	})
	if err != nil {
		t.Errorf("%s: %v", expression, err)
	}
	return value
}

// exemplars are the trace ids that the series of a selector point to, with the value of each.
func (p *prometheus) exemplars(ctx context.Context, selector string, since time.Time) (map[string]float64, error) {
	var found []struct {
		Exemplars []struct {
			Labels map[string]string
			Value  string
		}
	}
	window := url.Values{"query": {selector}, "start": {seconds(since)}, "end": {seconds(time.Now().Add(time.Minute))}}
	if err := p.ask(ctx, "query_exemplars", window, &found); err != nil {
		return nil, err
	}
	ids := make(map[string]float64)
	for _, series := range found {
		for _, e := range series.Exemplars {
			v, err := strconv.ParseFloat(e.Value, 64)
			if err != nil {
				return nil, err
			}
			ids[e.Labels["trace_id"]] = v
		}
	}
	return ids, nil
}

// series are the label sets that match a selector.
func (p *prometheus) series(ctx context.Context, selector string) ([]map[string]string, error) {
	var found []map[string]string
	err := p.ask(ctx, "series", url.Values{"match[]": {selector}}, &found)
	return found, err
}

func (p *prometheus) ask(ctx context.Context, what string, parameters url.Values, data any) error {
	body, err := get(ctx, p.url+"/api/v1/"+what+"?"+parameters.Encode())
	if err != nil {
		return err
	}
	answer := struct{ Data any }{data}
	return json.Unmarshal(body, &answer)
}

func seconds(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }
