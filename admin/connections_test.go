package admin

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/lifecycle"
)

// TestConnectionDocuments shows connections in every situation.
func TestConnectionDocuments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := numbered()
		v := start(t, &Server{Registry: r})
		fresh(r)
		r.SetGeneration(3, nil)
		relaying(r)
		ended := relaying(r)
		ended.SetClose(lifecycle.Close{Cause: lifecycle.CauseUpstreamClose, Initiator: lifecycle.InitiatorUpstream,
			Leg: lifecycle.LegUpstream, Code: 4001, Clean: true})
		step(ended, lifecycle.PhaseClose, time.Millisecond, nil)
		lost := relaying(r)
		lost.SetClose(lifecycle.Close{Cause: lifecycle.CauseMaxLifetime, Initiator: lifecycle.InitiatorProxy, Code: lifecycle.NoCode})
		lost.Begin(context.Background(), &lifecycle.Step{Phase: lifecycle.PhaseClose})
		time.Sleep(time.Microsecond)

		_, body := v.get("/api/connections?sort=-age")
		golden(t, "connections.json", body)
		_, one := v.get("/api/connections/c2")
		golden(t, "connection.json", one)
		ended.Closed(ended.Closing())
		if got := decode[problem](v, "/api/connections/c3", 404); !strings.Contains(got.Detail, "no live connection") {
			t.Errorf("got %+v", got)
		}
	})
}

// numbered is a registry whose ids are c1, c2, …
func numbered() *lifecycle.Registry {
	n := 0
	return &lifecycle.Registry{NewID: func() string { n++; return fmt.Sprint("c", n) }}
}

func fresh(r *lifecycle.Registry) {
	c := r.Open("203.0.113.6:50000", time.Now())
	c.Begin(context.Background(), &lifecycle.Step{Phase: lifecycle.PhaseTLSAccept})
	time.Sleep(time.Millisecond)
}

// relaying is a connection whose first target refused.
func relaying(r *lifecycle.Registry) *lifecycle.Connection {
	c := r.Open("203.0.113.7:51000", time.Now())
	c.SetTrace("4bf92f3577b34da6a3ce929d0e0e4736", "")
	step(c, lifecycle.PhaseRequest, 1200*time.Microsecond, nil)
	c.Update(func(f *lifecycle.Facts) {
		f.Client, f.Route, f.Upstream, f.Target = "198.51.100.1", "chat", "chat", "ws://10.0.0.5:9000"
	})
	step(c, lifecycle.PhaseRoute, time.Nanosecond, nil)
	step(c, lifecycle.PhaseDNS, 3100*time.Microsecond, nil)
	step(c, lifecycle.PhaseConnect, time.Millisecond, lifecycle.Fail(lifecycle.ReasonConnectionRefused, errors.New("10.0.0.5 refused")))
	c.NextAttempt()
	connected(c)
	step(c, lifecycle.PhaseUpgrade, 4200*time.Microsecond, nil)
	c.Update(func(f *lifecycle.Facts) { f.Subprotocol, f.Compressed = "chat.v2", true })
	ctx, s := c.Begin(context.Background(), &lifecycle.Step{Phase: lifecycle.PhaseTransfer})
	up := c.Flow(lifecycle.Upstream)
	up.Bytes.Add(10600)
	up.Text.Add(50)
	up.Binary.Add(50)
	up.Ping.Add(1)
	up.StallNanos.Add(int64(250 * time.Millisecond))
	time.Sleep(12500 * time.Millisecond)
	up.Heard(s.Begun, time.Now())
	if c.ID != "c2" {
		s.End(ctx, nil)
	}
	return c
}

// connected goes over TLS to the second target, from an event loop on.
func connected(c *lifecycle.Connection) {
	ctx, s := c.Begin(context.Background(), &lifecycle.Step{Phase: lifecycle.PhaseConnect})
	time.Sleep(time.Millisecond)
	s.Peer = "10.0.0.6:9000"
	s.End(ctx, nil)
	ctx, s = c.Begin(context.Background(), &lifecycle.Step{Phase: lifecycle.PhaseTLS})
	s.TLS = &lifecycle.TLSInfo{Version: "1.3", Cipher: "TLS_AES_128_GCM_SHA256", ServerName: "chat.internal", ALPN: "http/1.1"}
	s.End(ctx, nil)
	c.SetWorker(1)
}

type listing = list[struct {
	ID    string  `json:"id"`
	Age   float64 `json:"age"`
	Route string  `json:"route"`
}]

func ids(l listing) []string {
	var all []string
	for _, item := range l.Items {
		all = append(all, item.ID)
	}
	return all
}

func TestFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := numbered()
		v := start(t, &Server{Registry: r})
		for _, c := range []struct {
			client, route, upstream string
			bytes                   uint64
			phase                   lifecycle.Phase
		}{
			{"203.0.113.7:51000", "chat", "a", 30, lifecycle.PhaseRequest},
			{"203.0.113.7:51001", "chat", "b", 10, lifecycle.PhaseNone},
			{"203.0.113.8:51000", "quotes", "b", 20, lifecycle.PhaseTLSAccept},
			{"[2001:db8::1]:51000", "", "", 0, lifecycle.PhaseNone},
			{"_hidden", "quotes", "a", 10, lifecycle.PhaseNone},
		} {
			conn := r.Open(c.client, time.Now())
			conn.Update(func(f *lifecycle.Facts) { f.Route, f.Upstream = c.route, c.upstream })
			conn.Flow(lifecycle.Downstream).Bytes.Add(c.bytes)
			if c.phase != lifecycle.PhaseNone {
				conn.Begin(t.Context(), &lifecycle.Step{Phase: c.phase})
			}
			time.Sleep(time.Second)
		}
		for query, want := range map[string]string{
			"":                                    "c5 c4 c3 c2 c1",
			"sort=age":                            "c5 c4 c3 c2 c1",
			"sort=-age":                           "c1 c2 c3 c4 c5",
			"sort=bytes":                          "c4 c2 c5 c3 c1",
			"sort=-bytes":                         "c1 c3 c5 c2 c4",
			"sort=-bytes&limit=2":                 "c1 c3",
			"route=chat":                          "c2 c1",
			"route=chat&route=quotes":             "c5 c3 c2 c1",
			"route=":                              "c4",
			"route=cha":                           "",
			"upstream=b":                          "c3 c2",
			"upstream=b&route=quotes":             "c3",
			"phase=tls_accept":                    "c3",
			"phase=tls_accept&phase=request":      "c3 c1",
			"phase=none&upstream=a":               "c5",
			"client=203.0.113.7":                  "c2 c1",
			"client=203.0.113.7:51001":            "c2",
			"client=203.0.113.0/24":               "c3 c2 c1",
			"client=2001:db8::/32":                "c4",
			"client=2001:db8::1":                  "c4",
			"client=_hidden":                      "c5",
			"client=_hidden&client=203.0.113.8":   "c5 c3",
			"client=203.0.113.70":                 "",
			"client=203.0.113":                    "",
			"sort=bytes&phase=none&limit=1000":    "c4 c2 c5",
			"client=" + url.QueryEscape("::/0"):   "c4",
			"client=0.0.0.0/0&sort=-age&route=no": "",
		} {
			if got := strings.Join(ids(decode[listing](v, "/api/connections?"+query, 200)), " "); got != want {
				t.Errorf("%s: got %q, want %q", query, got, want)
			}
		}
		ages := order{by: "age"}
		for query, want := range map[string]string{
			"rout=chat":             `there is no parameter "rout"`,
			"phase=transfers":       `there is no phase "transfers"`,
			"sort=route":            "sort must be age, bytes, -age or -bytes",
			"sort=":                 "sort must be age, bytes, -age or -bytes",
			"limit=0":               "limit must be a number from 1 to 1000",
			"limit=1001":            "limit must be a number from 1 to 1000",
			"limit=all":             "limit must be a number from 1 to 1000",
			"cursor=":               "cursor must be a page's next",
			"cursor=%21":            "cursor must be a page's next",
			"cursor=YWdlIDEyMw":     "cursor must be a page's next",
			"cursor=YWdlIHR3byBjMQ": "cursor must be a page's next",
			"sort=bytes&cursor=" + ages.cursor(key{1, "c1"}): `the cursor is of another sort, "age"`,
			"sort=-age&cursor=" + ages.cursor(key{1, "c1"}):  `the cursor is of another sort, "age"`,
		} {
			if got := decode[problem](v, "/api/connections?"+query, 400); got.Detail != want {
				t.Errorf("%s: got %q, want %q", query, got.Detail, want)
			}
		}
	})
}

func TestEmptyListIsAList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := start(t, new(Server))
		if _, body := v.get("/api/connections"); string(body) != `{"items":[],"next":null}`+"\n" {
			t.Errorf("got %s", body)
		}
	})
}
