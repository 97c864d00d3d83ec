package admin

import (
	"encoding/json"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/lifecycle"
)

func TestState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Registry: new(lifecycle.Registry), System: new(lifecycle.System), Version: "1.2.3"}
		v := start(t, s)
		before := decode[stateDocument](v, "/api/state", 200)
		if before.State != "none" || before.Since != nil || before.Uptime != 0 || len(before.History) != 0 {
			t.Errorf("before the start: got %+v", before)
		}
		for _, state := range lifecycle.States()[:7] {
			s.System.Enter(state, "start")
			time.Sleep(time.Millisecond)
		}
		s.Registry.SetGeneration(1, nil)
		c := s.Registry.Open("203.0.113.7:51000", time.Now())
		step(c, lifecycle.PhaseRequest, time.Millisecond, nil)
		step(c, lifecycle.PhaseRoute, 0, nil)
		step(c, lifecycle.PhaseConnect, 0, nil)
		step(c, lifecycle.PhaseUpgrade, 0, nil)
		step(c, lifecycle.PhaseTransfer, 0, nil)
		time.Sleep(90 * time.Minute)
		s.System.Enter(lifecycle.StateReloading, "SIGHUP")
		s.Registry.SetGeneration(2, nil)
		step(s.Registry.Open("203.0.113.8:51000", time.Now()), lifecycle.PhaseTLSAccept, 0, nil)
		failing := s.Registry.Open("203.0.113.9:51000", time.Now())
		step(failing, lifecycle.PhaseRequest, 0, errors.New("half a request"))
		step(failing, lifecycle.PhaseClose, 0, nil)
		_, body := v.get("/api/state")
		golden(t, "state.json", withoutRuntime(t, body))
	})
}

// withoutRuntime checks the numbers that differ from machine to machine, and takes them out.
func withoutRuntime(t *testing.T, body []byte) []byte {
	t.Helper()
	var d stateDocument
	if err := json.Unmarshal(body, &d); err != nil {
		t.Fatal(err)
	}
	r := d.Runtime
	if r.Go != runtime.Version() || r.Processors < 1 || r.Goroutines < 2 || r.HeapBytes == 0 || r.MemoryBytes <= r.HeapBytes {
		t.Errorf("got %+v", r)
	}
	if runtime.GOOS == "linux" && (r.Descriptors == nil || r.Descriptors.Open < 3 || uint64(r.Descriptors.Open) > r.Descriptors.Limit) {
		t.Errorf("got descriptors %+v", r.Descriptors)
	}
	d.Runtime = resources{}
	body, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// UnmarshalText makes timestamp readable, which only tests need.
func (t *timestamp) UnmarshalText(text []byte) error {
	parsed, err := time.Parse(time.RFC3339Nano, string(text))
	*t = timestamp(parsed)
	return err
}

func TestHealthAndReadiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{System: new(lifecycle.System)}
		v := start(t, s)
		check := func(state string, status int) {
			t.Helper()
			if got := decode[map[string]any](v, "/readyz", status); got["state"] != state {
				t.Errorf("got %v, want state %s", got, state)
			}
			if got := decode[map[string]any](v, "/healthz", 200); got["status"] != "ok" {
				t.Errorf("got %v, want ok", got)
			}
		}
		check("none", 503)
		for _, state := range lifecycle.States()[:7] {
			s.System.Enter(state, "")
			status := 503
			if state == lifecycle.StateOperational {
				status = 200
			}
			check(state.String(), status)
		}
		s.System.Enter(lifecycle.StateReloading, "")
		check("reloading", 200)
		s.System.Enter(lifecycle.StateDraining, "")
		check("draining", 503)
	})
}
