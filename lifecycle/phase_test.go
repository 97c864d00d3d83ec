package lifecycle

import (
	"slices"
	"strings"
	"testing"
)

func TestTransitions(t *testing.T) {
	all := append([]Phase{PhaseNone}, Phases()...)
	golden(t, "transitions.txt", table(all, func(p Phase) []Phase { return transitions[p] }))
}

// run begins and ends the named phases in order, and returns the panic of the first that is refused.
func run(names ...string) (refusal any) {
	c := new(Registry).Open("", epoch)
	defer func() { refusal = recover() }()
	for _, name := range names {
		p := Phase(slices.Index(phaseNames[:], name))
		ctx, s := c.Begin(nobody, &Step{Phase: p})
		s.End(ctx, nil)
	}
	return nil
}

func TestOrderOfPhases(t *testing.T) {
	const begin = "tls_accept request route "
	legal := map[string]string{
		"direct":                            "request route dns connect upgrade transfer close",
		"address, TLS on both legs":         begin + "connect tls upgrade transfer close",
		"CONNECT":                           begin + "dns connect proxy upgrade transfer close",
		"CONNECT over TLS, TLS behind it":   begin + "dns connect tls proxy tls upgrade transfer close",
		"SOCKS5 with both names looked up":  begin + "dns dns connect proxy tls upgrade transfer close",
		"retry after refused connect":       begin + "dns connect dns connect upgrade transfer close",
		"retry after failed lookup":         begin + "dns connect connect upgrade transfer close",
		"retry after 503":                   begin + "connect upgrade connect upgrade transfer close",
		"retry after refusing proxy":        begin + "connect proxy connect proxy upgrade transfer close",
		"retry after bad certificate":       begin + "connect tls dns connect tls upgrade transfer close",
		"TLS failed":                        "tls_accept close",
		"no route":                          "request route close",
		"request incomplete":                "request close",
		"an opaque tunnel":                  begin + "dns connect transfer close",
		"an opaque tunnel behind an egress": begin + "connect proxy transfer close",
		"an intercepted WebSocket":          "request route dns connect tls_accept tls upgrade transfer close",
		"an intercepted one, by an egress":  begin + "connect tls proxy tls_accept tls upgrade transfer close",
		"an intercepted tunnel":             begin + "connect tls_accept tls transfer close",
		"a client that trusts no other CA":  begin + "connect tls_accept close",
	}
	for name, phases := range legal {
		if refusal := run(strings.Fields(phases)...); refusal != nil {
			t.Errorf("%s: %v", name, refusal)
		}
	}
	illegal := map[string]string{
		"nothing before close":      "close",
		"dial without a request":    "dns",
		"dial before the route":     "request connect",
		"upgrade without a connect": begin + "dns upgrade",
		"transfer before connect":   begin + "dns transfer",
		"transfer twice":            begin + "connect upgrade transfer transfer",
		"retry after transfer":      begin + "connect upgrade transfer connect",
		"anything after close":      begin + "close request",
		"close twice":               begin + "close close",
		"back to the request":       begin + "request",
		"proxy behind nothing":      begin + "proxy",
		"intercepted, without TLS":  begin + "connect tls_accept transfer",
	}
	for name, phases := range illegal {
		all := strings.Fields(phases)
		if refusal := run(all[:len(all)-1]...); refusal != nil {
			t.Errorf("%s: the way there: %v", name, refusal)
		}
		if run(all...) == nil {
			t.Errorf("%s: %s is not refused", name, phases)
		}
	}
}

// TestEveryPairOfPhases goes to each phase on a shortest way and tries each other from there.
func TestEveryPairOfPhases(t *testing.T) {
	ways := map[Phase][]string{PhaseNone: nil}
	for queue := []Phase{PhaseNone}; len(queue) > 0; queue = queue[1:] {
		for _, next := range transitions[queue[0]] {
			if _, known := ways[next]; !known {
				ways[next] = append(slices.Clone(ways[queue[0]]), next.String())
				queue = append(queue, next)
			}
		}
	}
	for from := range phaseCount {
		way, reachable := ways[from]
		if !reachable {
			t.Errorf("%s is out of reach", from)
		}
		for to := range phaseCount {
			refusal := run(append(slices.Clone(way), to.String())...)
			if legal := slices.Contains(transitions[from], to); legal != (refusal == nil) {
				t.Errorf("%s → %s: legal %t, refusal %v", from, to, legal, refusal)
			}
		}
	}
}
