package admin

import (
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/lifecycle"
)

func TestEgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Registry: new(lifecycle.Registry), System: new(lifecycle.System)}
		v := start(t, s)
		if none := decode[list[egressDocument]](v, "/api/egress", 200); none.Items == nil || len(none.Items) != 0 {
			t.Errorf("got %+v of none, want an empty list", none)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Registry: new(lifecycle.Registry), System: new(lifecycle.System), Egress: func() []lifecycle.EgressStatus {
			return []lifecycle.EgressStatus{
				{Name: "corp", Type: "https", Address: "proxy.corp:3129", Fallback: "environment", Granted: 12, Failed: 5, Failures: 3,
					Reason: lifecycle.ReasonConnectionRefused, At: time.Now().Add(-time.Minute)},
				{Name: "environment", Up: true},
			}
		}}
		v := start(t, s)
		_, body := v.get("/api/egress")
		golden(t, "egress.json", body)
	})
}
