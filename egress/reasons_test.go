package egress

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wsproxy/lifecycle"
)

// Every reason of the phases that run here has a scenario in which a peer brings it about.
func TestEveryReasonHasAScenario(t *testing.T) {
	files, err := filepath.Glob("testdata/*.golden")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
		all.WriteByte('\n')
	}
	elsewhere := map[lifecycle.Reason]string{
		lifecycle.ReasonConnectionReset:           "TestIntroductionToNobody",
		lifecycle.ReasonHostUnreachable:           "TestTellingError, as no loopback can",
		lifecycle.ReasonNetworkUnreachable:        "TestTellingError, as no loopback can",
		lifecycle.ReasonTLSCertificateExpired:     "lifecycle's tests",
		lifecycle.ReasonTLSCertificateNotYetValid: "lifecycle's tests",
		lifecycle.ReasonClientGone:                "TestPhasesWhenTheClientLeaves",
		lifecycle.ReasonCanceled:                  "TestPhasesWhenTheClientLeaves",
		lifecycle.ReasonInternal:                  "no peer",
	}
	for _, phase := range []lifecycle.Phase{lifecycle.PhaseDNS, lifecycle.PhaseConnect, lifecycle.PhaseProxy, lifecycle.PhaseTLS} {
		for _, reason := range lifecycle.Reasons(phase) {
			line := "\nfailed in " + phase.String() + ": " + reason.String() + "\n"
			if found := strings.Contains(all.String(), line); found == (elsewhere[reason] != "") {
				t.Errorf("%s in %s: got a scenario: %t, and elsewhere: %q; want one of the two", reason, phase, found, elsewhere[reason])
			}
		}
	}
}
