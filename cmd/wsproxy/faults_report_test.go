//go:build linux

package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"wsproxy/lifecycle"
)

var update = flag.Bool("update", false, "rewrite docs/faults.md")

const faultsFile = "../../docs/faults.md"

// wantDocument compares docs/faults.md with what was found, or rewrites it.
func wantDocument(t *testing.T, all []fault, endings []*ending) {
	want := document(all, endings)
	if *update {
		if err := os.WriteFile(faultsFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(faultsFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) == want {
		return
	}
	there, found := slices.Collect(strings.Lines(string(got))), slices.Collect(strings.Lines(want))
	for _, line := range there {
		if !slices.Contains(found, line) {
			t.Errorf("docs/faults.md has, and the test has not found (renew it with make generate): %s", line)
		}
	}
	for _, line := range found {
		if !slices.Contains(there, line) {
			t.Errorf("docs/faults.md has not, and the test has found (renew it with make generate): %s", line)
		}
	}
	if !t.Failed() {
		t.Error("docs/faults.md has another order (renew it with make generate)")
	}
}

const faultsHead = `<!-- Made by "go test ./cmd/wsproxy -run TestFaults -update". Do not edit. -->
# Faults

Every way in which a connection fails or ends. Each row is brought about by a test of the whole program and holds what was found then: in
the spans, metrics and log events, in the log's line, in the admin API, and at both ends of the connection. The test fails where two of them
do not agree, where two rows read the same in telemetry, and where a reason or cause has no row.

What to do about each is in [runbooks](runbooks/README.md).

`

const failedHead = `## Connections that never opened

The phase is ` + "`wsproxy.phase.name`" + ` and the reason is ` + "`error.type`" + `: on the root span, on the failed phase's own span, in
` + "`wsproxy.phase.duration`" + `, in the counter that the last column names, and in ` + "`wsproxy.connection.failed`" + ` among the log events. The
status is ` + "`http.response.status_code`" + `. The hop, whose name, address or certificate a failed span is about, is ` + "`wsproxy.dial.hop`" + `
or ` + "`wsproxy.tls.peer`" + `. In the last but one column SERVER is the span of the request.

| phase | reason | hop | brought about by | the client gets | spans in error | counts in |
|---|---|---|---|---|---|---|
`

const closedHead = `
## Connections that were open

These are ` + "`wsproxy.close.*`" + ` of the ` + "`websocket close`" + ` span (` + "`tunnel close`" + ` of a tunnel) and of the log event
` + "`wsproxy.connection.closed`" + `. In ` + "`wsproxy.connection.closes`" + ` the code is a class. An empty cell: there is none, or nothing is got.

| cause | brought about by | initiator | leg | code | class | clean | the client gets | the upstream gets |
|---|---|---|---|---|---|---|---|---|
`

func document(all []fault, found []*ending) string {
	var failed, closed []string
	for _, i := range inOrder(found) {
		e := found[i]
		if e.phase != "" {
			failed = append(failed, fmt.Sprintf("| `%s` | `%s` | %s | %s | %s | %s | `wsproxy.connection.%s` |\n",
				e.phase, e.reason, e.hop, all[i].how, statusText(e.status), e.spans, e.kind))
			continue
		}
		code := ""
		if e.code != 0 {
			code = fmt.Sprint(e.code)
		}
		closed = append(closed, fmt.Sprintf("| `%s` | %s | %s | %s | %s | `%s` | %s | %s | %s |\n",
			e.cause, all[i].how, e.initiator, e.leg, code, e.class, cleanText(e), e.client, e.upstream))
	}
	var b strings.Builder
	b.WriteString(faultsHead + failedHead + strings.Join(failed, "") + closedHead + strings.Join(closed, ""))
	b.WriteString("\n## Pending\n\nRows of features that do not exist yet. The test fails as soon as one does.\n\n")
	for _, p := range pending {
		fmt.Fprintf(&b, "- %s\n", p.name)
	}
	b.WriteString("\n## What can't be\n\n")
	for _, row := range slices.Sorted(maps.Keys(unreachable)) {
		fmt.Fprintf(&b, "- `%s`: %s\n", strings.ReplaceAll(row, " ", "` `"), unreachable[row])
	}
	return b.String()
}

// inOrder are the rows by phase, then by cause.
func inOrder(found []*ending) []int {
	rank := make(map[string]int)
	for _, p := range lifecycle.Phases() {
		rank[p.String()] = len(rank)
	}
	for _, c := range lifecycle.Causes() {
		rank[c.String()] = len(rank)
	}
	rows := make([]int, len(found))
	for i := range rows {
		rows[i] = i
	}
	slices.SortStableFunc(rows, func(a, b int) int {
		return rank[found[a].phase+found[a].cause] - rank[found[b].phase+found[b].cause] // only one of the two is there
	})
	return rows
}

func statusText(status int) string {
	if status == 0 {
		return "no answer"
	}
	return fmt.Sprint(status)
}

func cleanText(e *ending) string {
	switch {
	case e.clean:
		return "yes"
	case e.truncated:
		return "no, a frame was cut off"
	case e.unnotified:
		return "no, nor was TLS ended"
	}
	return "no"
}
