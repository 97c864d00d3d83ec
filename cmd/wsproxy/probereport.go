package main

import (
	"fmt"
	"slices"
	"time"

	"wsproxy/lifecycle"
)

// probeDocument is what --json writes. Times are in seconds; what is not there is null.
type probeDocument struct {
	URL         string          `json:"url"`
	At          time.Time       `json:"at"`
	Passed      bool            `json:"passed"`
	Opened      *float64        `json:"opened"` // from the begin to the 101
	Egress      *string         `json:"egress"`
	Address     *string         `json:"address"` // of the socket's other end
	TLS         *probeTLS       `json:"tls"`     // with the target
	Subprotocol *string         `json:"subprotocol"`
	Compression bool            `json:"compression"`
	RTT         *float64        `json:"rtt"`
	Phases      []probePhase    `json:"phases"`
	Failure     *probeFailure   `json:"failure"`
	Close       *probeCloseInfo `json:"close"`
}

type probePhase struct {
	Phase    string  `json:"phase"`
	Start    float64 `json:"start"`
	Duration float64 `json:"duration"`
	Hop      string  `json:"hop"` // target or egress
	Error    *string `json:"error"`
}

type probeTLS struct {
	Version string `json:"version"`
	Cipher  string `json:"cipher"`
	Resumed bool   `json:"resumed"`
}

type probeFailure struct {
	Phase  string `json:"phase"`
	Reason string `json:"reason"`
	Status *int   `json:"status"`
	Detail string `json:"detail"`
}

type probeCloseInfo struct {
	Cause string `json:"cause"`
	Code  *int   `json:"code"`
	Clean bool   `json:"clean"`
}

func (r *probed) document() probeDocument {
	s := r.story
	d := probeDocument{
		URL: r.url, At: s.Accepted, Passed: r.passed(), Egress: orNull(s.Facts.Egress), Subprotocol: orNull(s.Facts.Subprotocol),
		Compression: s.Facts.Compressed, Phases: []probePhase{},
	}
	if r.rtt > 0 {
		d.RTT = new(r.rtt.Seconds())
	}
	if opened, ok := s.Opened(); ok {
		d.Opened = new(opened.Seconds())
	}
	for _, step := range s.Steps {
		d.Phases = append(d.Phases, probePhase{
			step.Phase.String(), step.Begun.Sub(s.Accepted).Seconds(), step.Duration().Seconds(), step.Hop.String(), orNull(step.Reason().String()),
		})
		if step.Phase == lifecycle.PhaseConnect {
			d.Address = orNull(step.Peer)
		}
		if step.TLS != nil && step.Hop == lifecycle.HopTarget {
			d.TLS = &probeTLS{step.TLS.Version, step.TLS.Cipher, step.TLS.Resumed}
		}
	}
	d.end(s.Outcome)
	return d
}

func (d *probeDocument) end(o lifecycle.Outcome) {
	if f := o.Failure; f != nil {
		d.Failure = &probeFailure{Phase: f.Phase.String(), Reason: f.Reason.String(), Detail: f.Error()}
		if f.Status != 0 {
			d.Failure.Status = &f.Status
		}
		return
	}
	d.Close = &probeCloseInfo{Cause: o.Close.Cause.String(), Clean: o.Close.Clean}
	if o.Close.Code != lifecycle.NoCode {
		d.Close.Code = &o.Close.Code
	}
}

// orNull is null for a text that is not there.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// seen is what the picture does not show.
func (r *probed) seen() string {
	switch f := r.story.Outcome.Failure; {
	case f != nil:
		return f.Error()
	case r.rtt > 0:
		return "pong after " + r.rtt.Round(time.Microsecond).String()
	}
	return ""
}

// sumUp tells of several in a line.
func sumUp(all []*probed) string {
	passed := 0
	var opened, rtt []time.Duration
	for _, r := range all {
		if r.passed() {
			passed++
		}
		if took, ok := r.story.Opened(); ok {
			opened = append(opened, took)
		}
		if r.rtt > 0 {
			rtt = append(rtt, r.rtt)
		}
	}
	return fmt.Sprintf("%d of %d passed%s%s", passed, len(all), spread("opened in", opened), spread("pong after", rtt))
}

// spread is the least, the middle and the greatest of some times.
func spread(what string, all []time.Duration) string {
	if len(all) == 0 {
		return ""
	}
	slices.Sort(all)
	round := func(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
	return fmt.Sprintf("; %s %s at least, %s in the middle, %s at most", what, round(all[0]), round(all[len(all)/2]), round(all[len(all)-1]))
}
