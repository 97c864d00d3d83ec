package admin

import "net/http"

type egressDocument struct {
	Name     string           `json:"name"`
	Type     *string          `json:"type"` // null for the proxies of the environment
	Address  *string          `json:"address"`
	Fallback *string          `json:"fallback"`
	State    string           `json:"state"`
	Granted  uint64           `json:"granted"`  // tunnels
	Failed   uint64           `json:"failed"`   // by its own fault
	Failures int              `json:"failures"` // of these, since the last tunnel
	Last     *failureDocument `json:"last_failure"`
}

type failureDocument struct {
	Reason string    `json:"reason"`
	At     timestamp `json:"at"`
}

func (s *Server) egress(w http.ResponseWriter, _ *http.Request) {
	all := list[egressDocument]{Items: []egressDocument{}}
	if s.Egress == nil {
		writeJSON(w, all)
		return
	}
	for _, e := range s.Egress() {
		d := egressDocument{
			Name: e.Name, Type: orNull(e.Type), Address: orNull(e.Address), Fallback: orNull(e.Fallback),
			State: "down", Granted: e.Granted, Failed: e.Failed, Failures: e.Failures,
		}
		if e.Up {
			d.State = "up"
		}
		if !e.At.IsZero() {
			d.Last = &failureDocument{Reason: e.Reason.String(), At: timestamp(e.At)}
		}
		all.Items = append(all.Items, d)
	}
	writeJSON(w, all)
}
