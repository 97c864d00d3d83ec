//go:build linux

package main

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"testing"

	"wsproxy/config"
	"wsproxy/lifecycle"
)

// fault is one way in which a connection fails or ends.
type fault struct {
	how    string                      // it comes about, for docs/faults.md
	change func(s *stage, cfg object)  // of the configuration; nil: none
	hook   func(*lifecycle.Step) error // in place of how a step ended, if not nil
	play   func(s *stage)              // until the connection has to end by itself
	deaf   lifecycle.Leg               // which reads nothing before that
	want   ending
}

// ending is all that can be told of a connection that is over: phase to hop of one that never opened, cause to
// unnotified of another.
type ending struct {
	phase, reason string
	status        int    // that the client was answered; 0: nothing
	kind          string // what it counts as: failed or rejected
	spans         string // in error, in their order
	hop           string // whose name, address or certificate it is about: target or egress

	cause, initiator, leg string
	code                  int    // of the first Close frame; 0: none
	class                 string // the code on metrics
	clean                 bool
	truncated             bool // a frame was
	unnotified            bool // a leg's TLS ended without close_notify

	client, upstream string // what the legs have seen of it
}

// failing is the ending of a connection whose phase failed.
func failing(phase, reason string, status int, spans string) ending {
	kind := "failed"
	if (phase == "request" || phase == "route") && reason != "client_gone" && reason != "internal" {
		kind = "rejected"
	}
	e := ending{phase: phase, reason: reason, status: status, kind: kind, spans: spans}
	if phase == "dns" || phase == "connect" || phase == "tls" {
		e.hop = "target"
	}
	return e
}

// withEgress is an ending that is about the egress proxy.
func (e ending) withEgress() ending { e.hop = "egress"; return e }

// name is what an operator sees first.
func (e ending) name() string {
	if e.reason != "" {
		return fmt.Sprintf("%s %s %d", e.phase, e.reason, e.status)
	}
	parts := []string{e.cause, "by", e.initiator}
	if e.leg != "" {
		parts = append(parts, "on", e.leg)
	}
	parts = append(parts, "code", e.class)
	for _, mark := range []struct {
		set  bool
		text string
	}{{e.clean, "clean"}, {e.truncated, "truncated"}, {e.unnotified, "without close_notify"}} {
		if mark.set {
			parts = append(parts, mark.text)
		}
	}
	return strings.Join(parts, " ")
}

// told is what telemetry says, which is all that an operator has.
func (e ending) told() ending {
	e.client, e.upstream = "", ""
	return e
}

// pending are rows of features that do not exist yet. A row is due as soon as its feature is there.
var pending = []struct {
	name    string
	feature func(t *testing.T) bool
}{
	{"`protocol_error` with 1007, of `relay: inspect` and text that is not UTF-8", func(*testing.T) bool { return configurable(`relay: inspect`) }},
	{"`client_reset` and `client_gone` of a client that speaks HTTP/2, by RST_STREAM and END_STREAM", speaksHTTP2},
}

// speaksHTTP2 says whether a listener with TLS agrees to HTTP/2.
func speaksHTTP2(t *testing.T) bool {
	s := newStage(t, fault{change: secureListener(object{})})
	c := tls.Client(s.connect(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	if err := c.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState().NegotiatedProtocol == "h2"
}

// configurable says whether a route may have a setting.
func configurable(setting string) bool {
	text := "listeners: [{address: '127.0.0.1:0'}]\nupstreams: [{name: u, targets: ['ws://127.0.0.1:1']}]\n" +
		"routes:\n  - name: a\n    match: /\n    upstream: u\n    " + setting + "\n"
	_, err := config.Parse("test", []byte(text), func(string) (string, bool) { return "", false })
	return err == nil
}

// TestFaults brings about every reason and every cause, and finds each in spans, metrics, logs and the API, and with
// the client. docs/faults.md is made from what was found.
func TestFaults(t *testing.T) {
	all := slices.Concat(acceptFaults(), requestFaults(), dialFaults(), closeFaults(), tunnelFaults())
	found := make([]*ending, len(all))
	t.Run("rows", func(t *testing.T) {
		for i, f := range all {
			t.Run(f.want.name(), func(t *testing.T) {
				t.Parallel()
				found[i] = f.observe(t)
			})
		}
	})
	t.Run("every reason and cause has a row", func(t *testing.T) { wantComplete(t, all) })
	t.Run("no row is pending whose feature is there", func(t *testing.T) {
		if !configurable("framing: strict") {
			t.Error("got no setting at all: whether there is one of a feature is not known")
		}
		for _, p := range pending {
			if p.feature(t) {
				t.Errorf("%s: got the feature, want its row, too", p.name)
			}
		}
	})
	if slices.Contains(found, nil) {
		return // a row failed, or was not asked for
	}
	t.Run("every two rows differ", func(t *testing.T) { wantDistinct(t, all, found) })
	t.Run("document", func(t *testing.T) { wantDocument(t, all, found) })
}

func wantDistinct(t *testing.T, all []fault, found []*ending) {
	rows := make(map[ending]string)
	for i, e := range found {
		if same, ok := rows[e.told()]; ok {
			t.Errorf("%q and %q can't be told apart", same, all[i].how)
		}
		rows[e.told()] = all[i].how
	}
}

// unreachable says why a phase can't fail with a reason of any phase.
var unreachable = map[string]string{
	"tls_accept internal": "no code of ours runs in there",
	"request internal":    "no code of ours runs in there",
}

// wantComplete wants a row for every reason of every phase, and for every cause on each leg that it can be raised on.
func wantComplete(t *testing.T, all []fault) {
	has := func(match func(ending) bool) bool {
		return slices.ContainsFunc(all, func(f fault) bool { return match(f.want) })
	}
	for _, p := range lifecycle.Phases() {
		for _, r := range lifecycle.Reasons(p) {
			row := p.String() + " " + r.String()
			there := has(func(e ending) bool { return e.phase == p.String() && e.reason == r.String() })
			if there == (unreachable[row] != "") {
				t.Errorf("%s: got a row: %t, and a reason for none: %q; want one of the two", row, there, unreachable[row])
			}
		}
	}
	legs := map[lifecycle.Cause][]string{}
	for _, c := range []lifecycle.Cause{
		lifecycle.CauseTLSError, lifecycle.CausePongTimeout, lifecycle.CauseSlowPeer, lifecycle.CauseMessageTooBig, lifecycle.CauseProtocolError,
	} {
		legs[c] = []string{"client", "upstream"}
	}
	legs[lifecycle.CauseMessageRate] = []string{"client"} // the limits are of clients
	for _, c := range lifecycle.Causes() {
		on := legs[c]
		if on == nil {
			on = []string{""}
		}
		for _, leg := range on {
			if !has(func(e ending) bool { return e.cause == c.String() && e.leg == leg }) {
				t.Errorf("%s: got no row for leg %q", c, leg)
			}
		}
	}
}
