package admin

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/lifecycle"
)

func TestUpstreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		s := &Server{Upstreams: func() []lifecycle.UpstreamStatus {
			return []lifecycle.UpstreamStatus{
				{Name: "chat", Balance: "least_connections", Handshakes: 4, Retries: 1, RetriesRefused: 7, Targets: []lifecycle.TargetStatus{
					{Name: "ws://chat.internal:9000", State: lifecycle.TargetDegraded, Addresses: []lifecycle.AddressStatus{
						{Address: "10.0.0.5:9000", State: lifecycle.TargetHealthy, Since: now, Open: 3, Weight: 2, Checked: now, RTT: time.Millisecond},
						{Address: "10.0.0.6:9000", State: lifecycle.TargetUnhealthy, Since: now, Open: 1, Weight: 2, Checked: now, RTT: time.Millisecond,
							Failure: &lifecycle.Failure{Reason: lifecycle.ReasonUpgradeRejected, Status: 503, Err: errors.New("answered 503")}},
					}},
					{Name: "srv+ws://_chat._tcp.internal", State: lifecycle.TargetEjected, Lookup: errors.New("no such host"), Addresses: []lifecycle.AddressStatus{
						{Address: "b:9000", State: lifecycle.TargetEjected, Since: now, Weight: 1, Priority: 1, Ejections: 2, EjectedUntil: now.Add(20 * time.Second)},
					}},
				}},
				{Name: "empty", Balance: "hash"},
			}
		}}
		_, body := start(t, s).get("/api/upstreams")
		golden(t, "upstreams.json", body)
	})
}

func TestNoUpstreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if got := decode[list[upstreamDocument]](start(t, new(Server)), "/api/upstreams", 200); got.Items == nil || len(got.Items) != 0 || got.Next != nil {
			t.Errorf("got %+v, want an empty list", got)
		}
	})
}
