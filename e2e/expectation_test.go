//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// check holds the trace in Jaeger against the scenario.
func (p *played) check(t *testing.T, j *jaeger) {
	t.Helper()
	last := slices.Clone(p.spans)
	trace := j.await(t, p.trace, func(found *trace) error {
		if err := spansNamed(last...)(found); err != nil {
			return err
		}
		if found.root() == nil {
			return fmt.Errorf("no root, or several")
		}
		return nil
	})
	p.checkSpans(t, trace)
	p.checkOutcome(t, trace)
	checkTimes(t, trace)
	if p.want.cause != "" {
		p.checkNumbers(t, trace.span(spanClose))
	}
	if p.name == "slow CONNECT" {
		if s := trace.span(spanProxy); s.took() < egressDelay {
			t.Errorf("the proxy phase took %v, want at least %v", s.took(), egressDelay)
		}
	}
	golden(t, "traces/"+fileName(p.name), trace.normal(p.rough))
	if t.Failed() || p.name == "slow CONNECT" { // one to look at
		t.Logf("%s", trace)
	}
}

// checkSpans wants the right spans, all under the root, and in order.
func (p *played) checkSpans(t *testing.T, trace *trace) {
	t.Helper()
	root := trace.root()
	var names []string
	for _, s := range trace.spans {
		if s == root {
			continue
		}
		names = append(names, s.name)
		if s.parent != root.id {
			t.Errorf("%s is not under %s", s.name, root.name)
		}
	}
	if !slices.Equal(names, p.spans) {
		t.Errorf("got spans %q, want %q", names, p.spans)
	}
	for _, s := range trace.spans {
		if s.scope != "wsproxy" {
			t.Errorf("%s: got scope %q, want wsproxy", s.name, s.scope)
		}
	}
	if got := trace.resource["service.name"]; got != p.proxy.service {
		t.Errorf("got service.name %v, want %s", got, p.proxy.service)
	}
}

func (p *played) checkOutcome(t *testing.T, trace *trace) {
	t.Helper()
	root := trace.root()
	if got := root.number("http.response.status_code"); int(got) != p.want.status {
		t.Errorf("got status %d, want %d", got, p.want.status)
	}
	if p.want.cause != "" {
		p.checkClose(t, trace)
		return
	}
	if got := root.text("error.type"); got != p.want.reason {
		t.Errorf("got error.type %q, want %q", got, p.want.reason)
	}
	if got, want := root.failed, p.want.status == 0 || p.want.status >= 500; got != want {
		t.Errorf("the root's status is Error: %v, want %v", got, want)
	}
	if len(p.spans) == 0 {
		return
	}
	last := trace.spans[len(trace.spans)-1]
	if last.text("error.type") != p.want.reason || !last.failed {
		t.Errorf("the last span has error.type %q and Error %v, want %q and true", last.text("error.type"), last.failed, p.want.reason)
	}
	if got := root.text("wsproxy.phase.name"); got != p.want.phase {
		t.Errorf("got phase %q, want %q", got, p.want.phase)
	}
}

func (p *played) checkClose(t *testing.T, trace *trace) {
	t.Helper()
	for _, s := range trace.spans {
		if s.failed && !(s.name == spanConnect && p.route == "retry") {
			t.Errorf("%s has status Error", s.name)
		}
	}
	s := trace.span(spanClose)
	got := outcome{
		status: p.want.status, cause: s.text("wsproxy.close.cause"), initiator: s.text("wsproxy.close.initiator"),
		leg: s.text("wsproxy.close.leg"), code: -1,
	}
	if _, ok := s.attributes["wsproxy.close.code"]; ok {
		got.code = int(s.number("wsproxy.close.code"))
	}
	got.clean, _ = s.attributes["wsproxy.close.clean"].(bool)
	got.truncated, _ = s.attributes["wsproxy.close.frame_truncated"].(bool)
	if got != p.want {
		t.Errorf("got %+v, want %+v", got, p.want)
	}
}

// checkNumbers holds the close span's totals against what the client has counted.
func (p *played) checkNumbers(t *testing.T, s *span) {
	t.Helper()
	if p.rough || p.sent == 0 {
		return
	}
	wantNumber(t, s, "wsproxy.total.upstream.messages", int64(p.sent))
	wantNumber(t, s, "wsproxy.total.downstream.messages", int64(p.received))
	if p.exact() {
		wantNumber(t, s, "wsproxy.total.upstream.bytes", p.up)
		wantNumber(t, s, "wsproxy.total.downstream.bytes", p.down)
	}
}

// exact says whether all that wsproxy reads also reaches the other end, and nothing else.
func (p *played) exact() bool {
	return !p.rough && p.sent > 0 && (p.want.cause == "client_close" || p.want.cause == "upstream_close")
}

func wantNumber(t *testing.T, s *span, key string, want int64) {
	t.Helper()
	if got := s.number(key); got != want {
		t.Errorf("got %s %d, want %d", key, got, want)
	}
}

// checkTimes holds the order of the spans against the order of the phases: setup within the root, one
// after the other; transfer from its end on; then the close.
func checkTimes(t *testing.T, trace *trace) {
	t.Helper()
	root := trace.root()
	var setup time.Duration
	before := root.begun
	for _, s := range trace.spans {
		switch s.name {
		case root.name:
		case spanTransfer, spanClose:
			if s.begun.Before(root.ended) {
				t.Errorf("%s begins %v before %s has ended", s.name, root.ended.Sub(s.begun), root.name)
			}
			if s.begun.Sub(before) > slack {
				t.Errorf("%s begins %v after what was before it", s.name, s.begun.Sub(before))
			}
			before = s.ended
			continue
		default:
			if s.begun.Before(before) || s.ended.After(root.ended) {
				t.Errorf("%s [%v … %v] lies outside of its place", s.name, s.begun.Sub(root.begun), s.ended.Sub(root.begun))
			}
			setup += s.took()
		}
		if s.ended.Before(s.begun) {
			t.Errorf("%s ends before it begins", s.name)
		}
		if s != root {
			before = s.ended
		}
	}
	if setup > root.took() {
		t.Errorf("the phases took %v, more than the %v of %s", setup, root.took(), root.name)
	}
}
