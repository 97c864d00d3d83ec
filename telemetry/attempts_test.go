package telemetry

import (
	"context"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// noCollector is an address where nobody listens.
func noCollector(t *testing.T) string { return deadCollectors["absent"](t) }

// The exporters' own wait for a collector that is away would last as long as the shutdown may.
func TestAbsentCollectorDelaysNoExit(t *testing.T) {
	for _, protocol := range []string{protocolHTTP, protocolGRPC} {
		for _, from := range []string{"block", "environment"} {
			t.Run(protocol[:4]+" by the "+from, func(t *testing.T) {
				s := Settings{Flush: time.Minute, Log: Log{Level: 12}, OTLP: OTLP{Endpoint: noCollector(t), Protocol: protocol, Insecure: true}}
				if from == "environment" {
					t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+s.OTLP.Endpoint)
					t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
					s.Env, s.OTLP = env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+s.OTLP.Endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL", protocol), OTLP{}
				}
				tel, h := start(t, s)
				for range 300 { // several batches, of which the first is soon tried
					h.connect()
				}
				begun := time.Now()
				if err := tel.Shutdown(t.Context()); err == nil {
					t.Error("got no error, want the exports' failure")
				}
				took := time.Since(begun)
				if took > 20*time.Second {
					t.Errorf("shutdown took %s, want about %s", took, lastConnect)
				}
				t.Logf("shutdown took %s", took)
				for _, s := range []signal{signalTraces, signalMetrics, signalLogs} {
					if tel.losses.counts[s][lossExportFailed].Load() == 0 {
						t.Errorf("%s: no loss is counted", s)
					}
				}
			})
		}
	}
}

// What waits for a collector is brought to it if it is there as the shutdown begins, even if gRPC would not look for it for some
// time.
func TestShutdownLooksForTheCollectorOnceMore(t *testing.T) {
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
	address := noCollector(t)
	c, err := OTLP{Endpoint: address, Protocol: protocolGRPC, Insecure: true}.collector()
	if err != nil {
		t.Fatal(err)
	}
	hold, hurry := context.WithCancel(t.Context())
	life := lifetime{life: t.Context(), hold: hold, settings: &Settings{Env: env()}}.followed()
	exporter, err := c.traces(t.Context(), life.attempts)
	if err != nil {
		t.Fatal(err)
	}
	l := newLosses()
	p := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(newSpanGate(exporter, 1000, life, l)))
	end := func(name string) {
		_, span := p.Tracer("x").Start(t.Context(), name)
		span.End()
	}
	end("waits")
	for deadline := time.After(time.Minute); !life.attempts.waiting.Load(); {
		select {
		case <-deadline:
			t.Fatal("no attempt has failed")
		case <-time.After(5 * time.Millisecond):
		}
	}
	end("comes later")
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server, service := grpc.NewServer(), new(grpcTraces)
	collectortrace.RegisterTraceServiceServer(server, service)
	var wg sync.WaitGroup
	wg.Go(func() { server.Serve(listener) })
	hurry()
	begun := time.Now()
	if err := p.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 2*time.Second { // the exporter's own pause is half a second longer at least
		t.Errorf("shutdown took %s, want no wait", took)
	}
	server.Stop()
	wg.Wait()
	if want := []string{"waits", "comes later"}; !slices.Equal(service.names, want) {
		t.Errorf("got spans %q, want %q", service.names, want)
	}
	if lost := l.counts[signalTraces][lossExportFailed].Load(); lost != 0 {
		t.Errorf("got %d lost, want none", lost)
	}
}

// A collector that was away for long is noticed as soon as the gates try, not minutes later.
func TestConnectsAreNotFarApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		conn, err := grpc.NewClient("passthrough:///collector:4317", append((&attempts{hold: t.Context()}).dialOptions(),
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
				at = append(at, time.Now())
				return nil, syscall.ECONNREFUSED
			}))...)
		if err != nil {
			t.Fatal(err)
		}
		conn.Connect()
		time.Sleep(20 * time.Minute) // after half an hour without a call it is idle
		conn.Close()
		if len(at) < 100 {
			t.Errorf("got %d connects in 20 minutes, want one every %s or so", len(at), mostPause)
		}
		for i := range at[1:] {
			if pause := at[i+1].Sub(at[i]); pause > mostPause*5/4 {
				t.Errorf("got %s between two connects, want at most %s and a fifth", pause, mostPause)
			}
		}
	})
}
