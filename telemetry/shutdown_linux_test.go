package telemetry

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"wsproxy/internal/blackhole"
)

// A collector whose packets are dropped is connected to for as long as gRPC likes, but not beyond the shutdown.
func TestConnectUnderWayEndsWithTheShutdown(t *testing.T) {
	before := goleak.IgnoreCurrent()
	tel, h := start(t, Settings{
		OTLP: OTLP{Endpoint: blackhole.Listen(t, "127.0.0.1"), Protocol: protocolGRPC, Insecure: true}, Flush: 300 * time.Millisecond, Log: Log{Level: 12},
	})
	for range 300 {
		h.connect()
	}
	if err := tel.Shutdown(t.Context()); err == nil {
		t.Error("got no error, want the exports' failure")
	}
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}
