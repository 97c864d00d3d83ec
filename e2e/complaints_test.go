//go:build e2e

package e2e

import (
	"bytes"
	"regexp"
	"testing"
)

// complaint is a line of a server's log that nobody should see: a warning, an error, a deprecation.
// The collector and Jaeger write the level behind a tab, Prometheus and wsproxy as a field.
var complaint = regexp.MustCompile("(?i)\t(warn|error|dpanic|panic|fatal)\t|level=(WARN|ERROR)|\"level\":\"(WARN|ERROR)\"|deprecat|panic:|DATA RACE")

// tolerated are complaints about what tests can't have, each with its reason.
var tolerated = regexp.MustCompile("ui assets not embedded in the binary" + // Jaeger's page is no part of its Go module
	"|Received an OS signal, exiting gracefully") // Prometheus, of our SIGTERM

// complaints are the lines of a log that should not be there.
func complaints(log []byte) [][]byte {
	var found [][]byte
	for line := range bytes.Lines(log) {
		if complaint.Match(line) && !tolerated.Match(line) {
			found = append(found, bytes.TrimRight(line, "\n"))
		}
	}
	return found
}

// watch judges, when the test is over, what the stack's servers have written meanwhile.
func (s *stack) watch(t *testing.T) {
	t.Helper()
	t.Cleanup(func() { s.judge(t) })
}

func (s *stack) judge(t *testing.T) {
	t.Helper()
	for _, p := range s.processes {
		log := p.log(t)
		fresh := log[s.read[p]:]
		if p.running() {
			fresh = fresh[:bytes.LastIndexByte(fresh, '\n')+1]
		}
		s.read[p] += len(fresh)
		for _, line := range complaints(fresh) {
			t.Errorf("%s complains: %s", p.name, line)
		}
	}
}
