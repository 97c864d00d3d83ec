package admin

import (
	"net/http"
	"time"

	"wsproxy/lifecycle"
)

type upstreamDocument struct {
	Name           string           `json:"name"`
	Balance        string           `json:"balance"`
	Targets        []targetDocument `json:"targets"`
	Handshakes     int              `json:"handshakes"`      // under way
	Retries        int              `json:"retries"`         // those of them that are one
	RetriesRefused uint64           `json:"retries_refused"` // for want of budget
}

type targetDocument struct {
	Name      string            `json:"name"`
	State     string            `json:"state"`
	Open      int               `json:"open"`
	Lookup    *string           `json:"lookup"` // the error of the latest lookup, null if it went well
	Addresses []addressDocument `json:"addresses"`
}

type addressDocument struct {
	Address      string         `json:"address"`
	State        string         `json:"state"`
	Since        timestamp      `json:"since"`
	Open         int            `json:"open"`
	Weight       float64        `json:"weight"`
	Priority     int            `json:"priority"`
	Check        *checkDocument `json:"check"` // the latest, null without any
	Ejections    int            `json:"ejections"`
	EjectedUntil *timestamp     `json:"ejected_until"`
}

type checkDocument struct {
	At     timestamp `json:"at"`
	RTT    *float64  `json:"rtt"`    // seconds from ping to pong, of the latest that went well
	Reason *string   `json:"reason"` // null if it went well
	Error  *string   `json:"error"`
}

func (s *Server) upstreams(w http.ResponseWriter, _ *http.Request) {
	all := list[upstreamDocument]{Items: []upstreamDocument{}}
	if s.Upstreams != nil {
		for _, u := range s.Upstreams() {
			all.Items = append(all.Items, describeUpstream(u))
		}
	}
	writeJSON(w, all)
}

func describeUpstream(u lifecycle.UpstreamStatus) upstreamDocument {
	d := upstreamDocument{
		Name: u.Name, Balance: u.Balance, Targets: []targetDocument{},
		Handshakes: u.Handshakes, Retries: u.Retries, RetriesRefused: u.RetriesRefused,
	}
	for _, t := range u.Targets {
		target := targetDocument{Name: t.Name, State: t.State.String(), Addresses: []addressDocument{}}
		if t.Lookup != nil {
			target.Lookup = new(t.Lookup.Error())
		}
		for _, a := range t.Addresses {
			target.Open += a.Open
			target.Addresses = append(target.Addresses, describeAddress(a))
		}
		d.Targets = append(d.Targets, target)
	}
	return d
}

func describeAddress(a lifecycle.AddressStatus) addressDocument {
	d := addressDocument{
		Address: a.Address, State: a.State.String(), Since: timestamp(a.Since), Open: a.Open, Weight: a.Weight,
		Priority: a.Priority, Ejections: a.Ejections, EjectedUntil: timeOrNull(a.EjectedUntil),
	}
	if a.Checked.IsZero() {
		return d
	}
	d.Check = &checkDocument{At: timestamp(a.Checked)}
	if a.RTT > 0 {
		d.Check.RTT = new(a.RTT.Seconds())
	}
	if f := a.Failure; f != nil {
		d.Check.Reason, d.Check.Error = new(f.Reason.String()), new(f.Error())
	}
	return d
}

func timeOrNull(at time.Time) *timestamp {
	if at.IsZero() {
		return nil
	}
	return new(timestamp(at))
}
