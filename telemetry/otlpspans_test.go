package telemetry

import (
	"context"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// wire is a client that keeps what would go out.
type wire struct {
	otlptrace.Client
	sent []byte
	n    int
}

func (w *wire) Start(context.Context) error { return nil }
func (w *wire) Stop(context.Context) error  { return nil }

func (w *wire) UploadTraces(_ context.Context, rs []*tracepb.ResourceSpans) (err error) {
	for _, r := range rs {
		for _, s := range r.ScopeSpans {
			w.n += len(s.Spans)
		}
	}
	w.sent, err = proto.Marshal(&collectortrace.ExportTraceServiceRequest{ResourceSpans: rs})
	return err
}

// received is what a collector makes of it.
func (w *wire) received(t *testing.T) *collectortrace.ExportTraceServiceRequest {
	t.Helper()
	var r collectortrace.ExportTraceServiceRequest
	if err := proto.Unmarshal(w.sent, &r); err != nil {
		t.Fatal(err)
	}
	return &r
}

// recorded are the spans of a connection, as they go to the processor: as they are, and written.
func recorded(t *testing.T, s Settings, play func(*script)) (all, written []sdktrace.ReadOnlySpan) {
	h := newHarness(t, s)
	defer h.close()
	export := h.tracing.recording.process
	var mu sync.Mutex
	h.tracing.recording.process = func(s sdktrace.ReadOnlySpan) {
		mu.Lock()
		defer mu.Unlock()
		export(s)
		all, written = append(all, s), append(written, s.(*span).write())
	}
	play(h.accept("203.0.113.7:51000"))
	return all, written
}

// What goes out is what the library would send, which knows nothing of us.
func TestSpansOnTheWireAreTheLibrarys(t *testing.T) {
	for _, test := range timelines {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				spans, written := recorded(t, test.settings, test.play)
				ours, theirs := new(wire), new(wire)
				fast, err := newSpansExporter(t.Context(), ours)
				if err != nil {
					t.Fatal(err)
				}
				library, err := otlptrace.New(t.Context(), theirs)
				if err != nil {
					t.Fatal(err)
				}
				for range 2 { // the second reuses what the first has made
					if err := fast.ExportSpans(t.Context(), written); err != nil {
						t.Fatal(err)
					}
				}
				if err := library.ExportSpans(t.Context(), spans); err != nil {
					t.Fatal(err)
				}
				if got, want := ours.received(t), theirs.received(t); !proto.Equal(got, want) {
					t.Errorf("got\n%v\nwant\n%v", got, want)
				}
				if ours.n != 2*len(spans) {
					t.Errorf("got %d spans counted, want %d", ours.n, 2*len(spans))
				}
			})
		})
	}
}

func TestLongAndOddAttributesOnTheWire(t *testing.T) {
	tr := &tracing{recording: newRecording(sdktrace.AlwaysSample(), sdktrace.NewSimpleSpanProcessor(nil), resource.Default(), "")}
	var spans, written []sdktrace.ReadOnlySpan
	tr.recording.process = func(s sdktrace.ReadOnlySpan) { spans, written = append(spans, s), append(written, s.(*span).write()) }
	for _, n := range []int{0, 1, 100, 118, 119, 120, 127, 128, 16 << 10, 3 << 20} {
		s := newSpan()
		s.attrs = list{
			attribute.String("text", strings.Repeat("x", n)), attribute.StringSlice("texts", []string{"a", "", strings.Repeat("y", n)}),
			attribute.Bool("yes", true), attribute.Bool("no", false), attribute.Int("less", -1), attribute.Int("zero", 0), attribute.Float64("f", 0.1),
		}
		tr.root(s, trace.SpanContext{}, "x", trace.SpanKindClient, time.Unix(1, 2))
		s.fail(strings.Repeat("z", n))
		s.end(time.Unix(3, 4))
	}
	ours, theirs := new(wire), new(wire)
	fast, _ := newSpansExporter(t.Context(), ours)
	library, _ := otlptrace.New(t.Context(), theirs)
	if err := fast.ExportSpans(t.Context(), written); err != nil {
		t.Fatal(err)
	}
	if err := library.ExportSpans(t.Context(), spans); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(ours.received(t), theirs.received(t)) {
		t.Error("got other spans than the library's")
	}
}

func TestSpansOfTheSDKAreExportedBesideOurs(t *testing.T) {
	w := new(wire)
	e, err := newSpansExporter(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	var all []sdktrace.ReadOnlySpan
	synctest.Test(t, func(t *testing.T) { _, all = recorded(t, Settings{}, timelines[0].play) })
	ours := len(all)
	_, live := sdktrace.NewTracerProvider().Tracer("x").Start(t.Context(), "x")
	live.End()
	x := &spanExporter{SpanExporter: e, gate: newGate(t)}
	if err := x.ExportSpans(t.Context(), append(all, live.(sdktrace.ReadOnlySpan))); err != nil {
		t.Fatal(err)
	}
	if w.n != ours+1 {
		t.Errorf("got %d spans sent, want %d", w.n, ours+1)
	}
}

func TestSpanThatIsUsedAgainHasNothingOfTheFormer(t *testing.T) {
	tr := &tracing{recording: newRecording(sdktrace.AlwaysSample(), sdktrace.NewSimpleSpanProcessor(nil), resource.Default(), "")}
	s := &span{}
	s.attrs = list{attribute.String("a", "secret")}
	attrs := s.attrs
	tr.root(s, trace.SpanContext{}, "x", trace.SpanKindClient, time.Unix(1, 2), trace.Link{SpanContext: trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}})})
	links := s.links
	s.fail("y")
	s.ended = time.Unix(3, 4)
	s.write()
	s.release()
	if len(s.attrs)+len(s.links)+len(s.wire) != 0 {
		t.Errorf("got %d attributes, %d links and %d bytes, want none", len(s.attrs), len(s.links), len(s.wire))
	}
	if attrs[0].Valid() || links[0].SpanContext.TraceID().IsValid() {
		t.Error("got an attribute or a link that is kept alive")
	}
	s.attrs, s.links, s.wire = nil, nil, nil
	if !reflect.DeepEqual(s, &span{}) {
		t.Errorf("got %+v, want nothing", s)
	}
}
