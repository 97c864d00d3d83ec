package demo

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"wsproxy/lifecycle"
)

var update = flag.Bool("update", false, "renew the golden files under testdata")

const (
	us = time.Microsecond
	ms = time.Millisecond
)

// telling makes a story by hand.
type telling struct{ Story }

func tellAbout(path string) *telling {
	return &telling{Story{
		ID: "01JD3Z5K8Q2V7N4X6M9T0B1C2D", Client: "127.0.0.1:50000", TraceID: "4bf92f3577b34da6a3ce929d0e0e4736",
		Accepted: time.Unix(0, 0), Facts: lifecycle.Facts{Method: "GET", Path: path},
	}}
}

// to notes where it went.
func (s *telling) to(route, egress, target string) *telling {
	s.Facts.Route, s.Facts.Egress, s.Facts.Target = route, egress, target
	return s
}

// then adds a step, some time after the one before.
func (s *telling) then(pause, took time.Duration, step lifecycle.Step) *telling {
	step.Begun = s.Accepted.Add(s.total() + pause)
	step.Ended = step.Begun.Add(took)
	s.Steps = append(s.Steps, &step)
	return s
}

func (s *telling) requested() *telling {
	return s.then(0, 180*us, lifecycle.Step{Phase: lifecycle.PhaseRequest}).
		then(0, 10*us, lifecycle.Step{Phase: lifecycle.PhaseRoute})
}

// closed is the end of a connection that carried something for a while.
func (s *telling) closed(open time.Duration, c lifecycle.Close) *Story {
	s.then(8*us, open, lifecycle.Step{Phase: lifecycle.PhaseTransfer}).then(0, 300*us, lifecycle.Step{Phase: lifecycle.PhaseClose})
	s.Outcome = lifecycle.Outcome{
		Kind: lifecycle.OutcomeClosed, Status: 101, Close: c,
		Upstream: lifecycle.Counts{Text: 1, Bytes: 96}, Down: lifecycle.Counts{Text: 4, Binary: 2, Bytes: 4_560_000},
	}
	return &s.Story
}

// failed is the end of one whose last step failed.
func (s *telling) failed(reason lifecycle.Reason, status int) *Story {
	last := s.Steps[len(s.Steps)-1]
	last.Failure = &lifecycle.Failure{Phase: last.Phase, Reason: reason}
	s.Outcome = lifecycle.Outcome{Kind: last.Failure.Kind(), Failure: last.Failure, Status: status}
	return &s.Story
}

func step(p lifecycle.Phase, attempt int, host, peer string) lifecycle.Step {
	return lifecycle.Step{Phase: p, Attempt: attempt, Host: host, Peer: peer}
}

func upgraded(attempt int) lifecycle.Step {
	return lifecycle.Step{Phase: lifecycle.PhaseUpgrade, Attempt: attempt, Status: 101}
}

var clientClosed = lifecycle.Close{Cause: lifecycle.CauseClientClose, Initiator: lifecycle.InitiatorClient, Code: 1000, Clean: true}

// plain is a connection without anything remarkable.
func plain(open time.Duration, c lifecycle.Close) *Story {
	s := tellAbout("/direct").to("direct", "", "ws://127.0.0.1:9000").requested()
	s.Facts.Subprotocol, s.Facts.Compressed = "demo.v1", true
	return s.then(5*us, 90*us, step(lifecycle.PhaseConnect, 1, "", "127.0.0.1:9000")).then(3*us, 220*us, upgraded(1)).closed(open, c)
}

// everything has every phase, those of an egress over TLS included.
func everything() *Story {
	s := tellAbout("/all").to("all", "corp", "wss://echo.demo:9001")
	s.then(0, 2*ms, lifecycle.Step{Phase: lifecycle.PhaseTLSAccept, TLS: &lifecycle.TLSInfo{Version: "1.3"}}).requested()
	dns, connect := step(lifecycle.PhaseDNS, 1, "proxy.demo", ""), step(lifecycle.PhaseConnect, 1, "", "127.0.0.1:3128")
	dns.Answers = []string{"127.0.0.1", "::1"}
	outer := step(lifecycle.PhaseTLS, 1, "proxy.demo", "127.0.0.1:3128")
	dns.Hop, connect.Hop, outer.Hop = lifecycle.HopEgress, lifecycle.HopEgress, lifecycle.HopEgress
	outer.TLS = &lifecycle.TLSInfo{Version: "1.2"}
	tunnel := step(lifecycle.PhaseProxy, 1, "echo.demo:9001", "127.0.0.1:3128")
	tunnel.EgressType = "https"
	inner := step(lifecycle.PhaseTLS, 1, "echo.demo", "127.0.0.1:3128")
	inner.TLS = &lifecycle.TLSInfo{Version: "1.3"}
	s.then(0, 10*us, dns).then(0, 150*us, connect).then(0, 3*ms, outer).then(0, 150*ms, tunnel).then(0, 4*ms, inner)
	return s.then(0, 10*us, upgraded(1)).closed(2*time.Hour, clientClosed)
}

// retried has a first target that refuses.
func retried() *Story {
	refused := step(lifecycle.PhaseConnect, 1, "", "")
	refused.Tries = []lifecycle.Try{{Address: "127.0.0.1:9"}}
	refused.Failure = lifecycle.Fail(lifecycle.ReasonConnectionRefused, nil)
	s := tellAbout("/retry").to("retry", "", "ws://127.0.0.1:9000").requested().then(5*us, 60*us, refused)
	return s.then(9*us, 80*us, step(lifecycle.PhaseConnect, 2, "", "127.0.0.1:9000")).then(3*us, 200*us, upgraded(2)).closed(61*ms, clientClosed)
}

func TestWaterfall(t *testing.T) {
	reset := lifecycle.Close{Cause: lifecycle.CauseUpstreamReset, Initiator: lifecycle.InitiatorUpstream, Leg: lifecycle.LegUpstream, Code: 1012}
	drained := lifecycle.Close{Cause: lifecycle.CauseForcedStop, Initiator: lifecycle.InitiatorProxy, Code: lifecycle.NoCode}
	notFound := tellAbout("/not-found").to("not-found", "", "ws://missing.demo:9000").requested().
		then(20*us, 300*us, step(lifecycle.PhaseDNS, 1, "missing.demo", "")).failed(lifecycle.ReasonDNSNotFound, 502)
	denied := tellAbout("/direct").to("direct", "", "").requested().failed(lifecycle.ReasonOriginDenied, 403)
	barred := tellAbout("/socks").to("socks", "corp", "ws://echo.demo:9000").requested().
		then(0, 60*ms, lifecycle.Step{Phase: lifecycle.PhaseProxy, Attempt: 1, Host: "echo.demo:9000"}).failed(lifecycle.ReasonProxyRefused, 502)
	barred.Outcome.Failure.Status = 403
	gone := tellAbout("").then(0, 90*us, lifecycle.Step{Phase: lifecycle.PhaseRequest}).failed(lifecycle.ReasonClientGone, 0)
	gone.TraceID = ""
	hostile := plain(time.Second, clientClosed)
	hostile.Facts.Path, hostile.Facts.Subprotocol = "/\x1b[2J\r\n"+strings.Repeat("path/", 40), "\x07bell"
	cases := map[string]struct {
		Waterfall
		story             *Story
		title, note, seen string
	}{
		"plain":       {Waterfall{}, plain(62*ms, clientClosed), "Direct", "The plain case.", "101 Switching Protocols"},
		"narrow":      {Waterfall{Width: 10}, plain(62*ms, clientClosed), "Direct", "The plain case.", "101 Switching Protocols"},
		"wide":        {Waterfall{Width: 500}, everything(), "Every phase", "", ""},
		"everything":  {Waterfall{}, everything(), "Every phase", "", ""},
		"second_try":  {Waterfall{}, retried(), "Second try", "", ""},
		"reset":       {Waterfall{}, plain(400*us, reset), "Upstream dies", "", "close 1012 upstream reset"},
		"forced_stop": {Waterfall{}, plain(3*time.Second, drained), "Stopped", "", ""},
		"not_found":   {Waterfall{}, notFound, "Name not found", "", "502 Bad Gateway"},
		"denied":      {Waterfall{}, denied, "Foreign origin", "", "403 Forbidden"},
		"barred":      {Waterfall{}, barred, "Egress says no", "", "502 Bad Gateway"},
		"gone":        {Waterfall{}, gone, "Client gone", "", ""},
		"hostile":     {Waterfall{}, hostile, "Hostile", "", "close 1000 \x1b]0;title\x07"},
		"color":       {Waterfall{Color: true}, retried(), "Second try", "", ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := tc.Render(tc.title, tc.note, tc.story, tc.seen)
			golden(t, name+".golden", got)
			width := min(max(tc.Width, 80), 120)
			if tc.Width == 0 {
				width = 100
			}
			for line := range strings.Lines(got) {
				if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width && !tc.Color {
					t.Errorf("got a line of %d columns, want at most %d: %s", n, width, line)
				}
			}
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (renew with -update)\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

func TestBarHasAtLeastAHalfCellAndStaysInItsPanel(t *testing.T) {
	p := panel{from: 100, to: 200, columns: 10}
	cases := map[string]struct {
		from, to time.Duration
		want     string
	}{
		"all of it":      {100, 200, "██████████"},
		"nothing":        {100, 100, "▌         "},
		"at the end":     {200, 200, "         ▐"},
		"half a cell":    {105, 110, "▐         "},
		"over the edges": {0, 1000, "██████████"},
		"from the half":  {115, 140, " ▐██      "},
		"to the half":    {120, 135, "  █▌      "},
	}
	for name, tc := range cases {
		if got := p.bar(tc.from, tc.to, solid); got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}

func TestAmountsAreShort(t *testing.T) {
	cases := map[string]string{
		duration(0):                             "<1 µs",
		duration(999 * time.Nanosecond):         "<1 µs",
		duration(182*us + 400):                  "182 µs",
		duration(1500 * us):                     "1.50 ms",
		duration(62 * ms):                       "62.0 ms",
		duration(1520 * ms):                     "1.52 s",
		duration(99900 * ms):                    "99.9 s",
		duration(2*time.Hour + 1400*ms):         "2h0m1s",
		duration(999*us + 999):                  "1.00 ms",
		duration(999*ms + 999*us):               "1.00 s",
		duration(9*ms + 999*us + 999):           "10.0 ms",
		amount(0):                               "0 B",
		amount(999):                             "999 B",
		amount(4560):                            "4.56 kB",
		amount(999_999):                         "1.00 MB",
		amount(12_345_678):                      "12.3 MB",
		amount(5_000_000_000_000):               "5.00 TB",
		carried(&lifecycle.Counts{Text: 1}):     "1 message, 0 B",
		cut("straße\x1b[1m", 8):                 "straße·…",
		panel{to: 124 * ms, columns: 30}.axis(): "0           50 ms       124 ms",
	}
	for got, want := range cases {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestEveryCauseHasItsSentence(t *testing.T) {
	for _, c := range lifecycle.Causes() {
		if endings[c] == "" {
			t.Errorf("got no sentence for %s, want one", c)
		}
	}
}
