package main

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the generated files")

// TestOutputsAreCurrent compares what the schema makes with what is checked in; -update rewrites it.
func TestOutputsAreCurrent(t *testing.T) {
	if *update {
		if err := run("../.."); err != nil {
			t.Fatal(err)
		}
	}
	files, err := generate("../..")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs from schema.yaml: run go generate ./telemetry", name)
		}
	}
}

func TestSchemaProblemsAreAllReported(t *testing.T) {
	s := schema{
		Attributes: []attribute{{Name: "used"}, {Name: "unused"}, {Name: "used"}},
		Metrics:    []metric{{Name: "m", Instrument: "histogram", Bounds: "none", Attributes: []string{"used", "missing"}}},
	}
	got := s.check().Error()
	for _, want := range []string{`"missing" is not defined`, `"none" are not defined`, `"unused" is not used`, `"used" is defined twice`} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s, want it to say %s", got, want)
		}
	}
}

func TestIdentifiers(t *testing.T) {
	for name, want := range map[string]string{
		"wsproxy.connection.id":        "ConnectionID",
		"http.response.status_code":    "HTTPResponseStatusCode",
		"TLS server handshake":         "TLSServerHandshake",
		"proxy CONNECT":                "ProxyConnect",
		"wsproxy.connect.outcome":      "ConnectOutcome",
		"wsproxy.total.upstream.bytes": "TotalUpstreamBytes",
	} {
		if got := identifier(name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	for name, want := range map[string]string{"wsproxy.io": "io", "http.server.request.duration": "httpServerRequestDuration", "wsproxy.connection.active": "connectionActive"} {
		if got := field(name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}
