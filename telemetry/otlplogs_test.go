package telemetry

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/trace"
	collogspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"wsproxy/internal/otlpsink"
)

// bothWays are events with every kind of attribute: as records that the library makes messages of and as such that are written.
func bothWays(t *testing.T) (plain, written []sdklog.Record) {
	emit := func(written bool) (all []sdklog.Record) {
		b := newBlanks(sdklog.NewSimpleProcessor(new(memoryLogs)), resource.NewSchemaless(attribute.String("service.name", "x")), "1.2.3")
		b.written = written
		b.process = func(_ context.Context, r *sdklog.Record) error {
			all = append(all, r.Clone())
			return nil
		}
		e, at := &events{blanks: b}, time.Now().Add(-time.Millisecond)
		sampled := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
		e.emit(at, sampled, eventConnectionClosed, slog.LevelInfo, list{
			attribute.String("text", strings.Repeat("x", 200)), attribute.String("empty", ""), attribute.Bool("no", false), attribute.Bool("yes", true),
			attribute.Int("less", -1), attribute.Int("much", 1<<40), attribute.Float64("f", 0.1), attribute.StringSlice("texts", []string{"a", ""}),
		})
		e.emit(at, trace.SpanContext{}, eventConfigReloaded, slog.LevelError, nil)
		e.emit(at, sampled.WithTraceFlags(0), eventConnectionStalled, LevelNotice, list{attribute.String("a", "b")})
		return all
	}
	synctest.Test(t, func(*testing.T) { plain, written = emit(false), emit(true) }) // at one time
	return plain, written
}

// logsService is a collector.
type logsService struct {
	collogspb.UnimplementedLogsServiceServer
	got collogspb.ExportLogsServiceRequest
}

func (s *logsService) Export(_ context.Context, r *collogspb.ExportLogsServiceRequest) (*collogspb.ExportLogsServiceResponse, error) {
	proto.Merge(&s.got, r)
	return new(collogspb.ExportLogsServiceResponse), nil
}

// arrived is what a collector gets of batches that come from the processor.
func arrived(t *testing.T, protocol string, batches ...[]sdklog.Record) *collogspb.ExportLogsServiceRequest {
	t.Helper()
	sink, service := otlpsink.Start(), new(logsService)
	defer sink.Close()
	address := sink.Listener.Addr().String()
	if protocol == protocolGRPC {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := grpc.NewServer()
		collogspb.RegisterLogsServiceServer(server, service)
		go server.Serve(l)
		defer server.Stop()
		address = l.Addr().String()
	}
	c, err := (OTLP{Endpoint: "http://" + address, Protocol: protocol}).collector()
	if err != nil {
		t.Fatal(err)
	}
	e, err := c.logs(t.Context(), &attempts{hold: t.Context()}, false)
	if err != nil {
		t.Fatal(err)
	}
	x := &logExporter{Exporter: e, gate: newGate(t)}
	for _, b := range batches {
		if err := x.Export(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if protocol == protocolHTTP {
		if err := proto.Unmarshal(sink.Got(otlpsink.Logs), &service.got); err != nil {
			t.Fatal(err)
		}
	}
	return &service.got
}

// What goes out is what the library would send, which knows nothing of us.
func TestRecordsOnTheWireAreTheLibrarys(t *testing.T) {
	plain, written := bothWays(t)
	for _, protocol := range []string{protocolHTTP, protocolGRPC} {
		t.Run(protocol, func(t *testing.T) {
			got, want := arrived(t, protocol, written, written[:1], written), arrived(t, protocol, plain, plain[:1], plain)
			if n := len(want.ResourceLogs); n != 3 {
				t.Fatalf("the library sent %d messages, want 3", n)
			}
			if !proto.Equal(got, want) {
				t.Errorf("got\n%v\nwant\n%v", got, want)
			}
		})
	}
}

// Lines of the log and events share a queue.
func TestRecordsOfTheSDKAreExportedBesideOurs(t *testing.T) {
	plain, written := bothWays(t)
	for _, protocol := range []string{protocolHTTP, protocolGRPC} {
		got := arrived(t, protocol, []sdklog.Record{written[0], plain[1], written[2]})
		names := make(map[string]int)
		for _, r := range got.ResourceLogs {
			for _, s := range r.ScopeLogs {
				for _, l := range s.LogRecords {
					names[l.EventName]++
				}
			}
		}
		if len(names) != 3 || names[eventConnectionClosed] != 1 || names[eventConfigReloaded] != 1 || names[eventConnectionStalled] != 1 {
			t.Errorf("%s: got %v, want each of the three once", protocol, names)
		}
	}
}

func newGate(t *testing.T) *gate {
	return &gate{lifetime: lifetime{life: t.Context(), hold: t.Context(), settings: &Settings{Env: env()}}, limit: 1000, losses: newLosses()}
}

// away is a collector that takes lines, and for a while no events.
type away struct {
	discard
	fails, events, lines int
}

func (a *away) Export(_ context.Context, records []sdklog.Record) error {
	switch {
	case !isWrittenRecord(&records[0]):
		a.lines += len(records)
	case a.fails > 0:
		a.fails--
		return context.DeadlineExceeded
	default:
		a.events += len(records)
	}
	return nil
}

func TestWhatHasArrivedIsNotSentAgain(t *testing.T) {
	plain, written := bothWays(t)
	synctest.Test(t, func(t *testing.T) {
		a := &away{fails: 3}
		x := &logExporter{Exporter: a, gate: newGate(t)}
		if err := x.Export(t.Context(), []sdklog.Record{plain[0], written[0], plain[1], written[2]}); err != nil {
			t.Fatal(err)
		}
		if a.events != 2 || a.lines != 2 || a.fails != 0 {
			t.Errorf("got %d events and %d lines sent, want 2 of each", a.events, a.lines)
		}
	})
}
