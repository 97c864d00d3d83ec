package lifecycle

import "testing"

// TestEveryValueHasAName also fails for a constant that was added without one.
func TestEveryValueHasAName(t *testing.T) {
	cases := map[string]struct {
		names    []string
		nameless int // how many at the beginning have no name by intent
	}{
		"Phase":       {phaseNames[:], 0},
		"Reason":      {reasonNames[:], 1},
		"Cause":       {causeNames[:], 1},
		"Initiator":   {initiatorNames[:], 1},
		"Leg":         {legNames[:], 1},
		"Direction":   {directionNames[:], 0},
		"Mode":        {modeNames[:], 0},
		"Hop":         {hopNames[:], 0},
		"OutcomeKind": {outcomeNames[:], 0},
		"State":       {stateNames[:], 0},
		"Reload":      {reloadFailureNames[:], 1},
		"TargetState": {targetStateNames[:], 0},
	}
	for enum, tc := range cases {
		t.Run(enum, func(t *testing.T) {
			seen := make(map[string]int)
			for value, name := range tc.names {
				if (name == "") != (value < tc.nameless) {
					t.Errorf("value %d: got %q", value, name)
				}
				if before, twice := seen[name]; twice {
					t.Errorf("values %d and %d are both %q", before, value, name)
				}
				seen[name] = value
			}
		})
	}
}

func TestNames(t *testing.T) {
	for want, got := range map[string]string{
		"tls_accept":        PhaseTLSAccept.String(),
		"close":             PhaseClose.String(),
		"internal":          ReasonInternal.String(),
		"proxy_timeout":     ReasonProxyTimeout.String(),
		"tls_alert":         ReasonTLSAlert.String(),
		"tunnel_end":        CauseTunnelEnd.String(),
		"auth_expired":      CauseAuthExpired.String(),
		"forward":           ModeForward.String(),
		"egress":            HopEgress.String(),
		"dismissed":         OutcomeDismissed.String(),
		"stopped":           StateStopped.String(),
		"upstreams_checked": StateUpstreamsChecked.String(),
		"proxy":             InitiatorProxy.String(),
		"downstream":        Downstream.String(),
		"invalid":           Phase(200).String(),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestLegsAndDirections(t *testing.T) {
	for d, legs := range map[Direction][2]Leg{Upstream: {LegClient, LegUpstream}, Downstream: {LegUpstream, LegClient}} {
		if d.From() != legs[0] || d.To() != legs[1] || legs[0].Other() != legs[1] {
			t.Errorf("%s: got %s to %s, want %s to %s", d, d.From(), d.To(), legs[0], legs[1])
		}
	}
	if got := LegNone.Other(); got != LegNone {
		t.Errorf("got %q, want none", got)
	}
}

func TestListsAreComplete(t *testing.T) {
	if got, want := len(Phases()), int(phaseCount)-1; got != want {
		t.Errorf("phases: got %d, want %d", got, want)
	}
	if got, want := len(States()), int(stateCount)-1; got != want {
		t.Errorf("states: got %d, want %d", got, want)
	}
	if got, want := len(Causes()), int(causeCount)-1; got != want {
		t.Errorf("causes: got %d, want %d", got, want)
	}
	used := make(map[Reason]bool)
	for _, p := range Phases() {
		for _, r := range Reasons(p) {
			used[r] = true
		}
	}
	for r := ReasonNone + 1; r < reasonCount; r++ {
		if !used[r] {
			t.Errorf("no phase fails with %s", r)
		}
	}
}

func TestReasons(t *testing.T) { golden(t, "reasons.txt", table(Phases(), Reasons)) }
