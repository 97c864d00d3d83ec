package demo

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"wsproxy/lifecycle"
)

// details say what a phase was about. There is at least one.
func (s *Story) details(step *lifecycle.Step) []string {
	if step.Failure != nil {
		if whom := failedAt(step); whom != "" {
			return []string{step.Reason().String(), whom}
		}
		return []string{step.Reason().String()}
	}
	hop := ""
	if step.Hop == lifecycle.HopEgress {
		hop = "egress "
	}
	switch step.Phase {
	case lifecycle.PhaseTLSAccept:
		return []string{secured(step.TLS, "from the client")}
	case lifecycle.PhaseRequest:
		return []string{s.Facts.Method + " " + s.Facts.Path}
	case lifecycle.PhaseRoute:
		return []string{"route " + s.Facts.Route}
	case lifecycle.PhaseDNS:
		return []string{hop + step.Host + " is " + strings.Join(step.Answers, ", ")}
	case lifecycle.PhaseConnect:
		return []string{hop + step.Peer}
	case lifecycle.PhaseProxy:
		return []string{tunnelKind(step.EgressType) + " " + step.Host}
	case lifecycle.PhaseTLS:
		return []string{secured(step.TLS, "with "+hop+step.Host)}
	case lifecycle.PhaseUpgrade:
		return []string{s.agreed(step)}
	case lifecycle.PhaseTransfer:
		o := &s.Outcome
		return []string{"→ " + carried(&o.Upstream), "← " + carried(&o.Down)}
	case lifecycle.PhaseClose:
		if s.Outcome.Close.Code > 0 {
			return []string{"Close " + strconv.Itoa(s.Outcome.Close.Code)}
		}
	}
	return []string{""}
}

// failedAt is whom a failed step was about, or what they said.
func failedAt(step *lifecycle.Step) string {
	switch {
	case step.Phase == lifecycle.PhaseConnect && step.Peer == "" && len(step.Tries) > 0:
		return step.Tries[len(step.Tries)-1].Address
	case step.Failure.Status != 0:
		return "answered " + strconv.Itoa(step.Failure.Status)
	}
	return step.Host
}

func secured(t *lifecycle.TLSInfo, peer string) string {
	if t == nil {
		return "TLS " + peer
	}
	return "TLS " + t.Version + " " + peer
}

// tunnelKind is what the egress was asked with.
func tunnelKind(egress string) string {
	if strings.HasPrefix(egress, "socks") {
		return strings.ToUpper(egress)
	}
	return "CONNECT"
}

// agreed is what the handshake brought.
func (s *Story) agreed(step *lifecycle.Step) string {
	parts := []string{strconv.Itoa(step.Status)}
	if s.Facts.Subprotocol != "" {
		parts = append(parts, s.Facts.Subprotocol)
	}
	if s.Facts.Compressed {
		parts = append(parts, "permessage-deflate")
	}
	return strings.Join(parts, ", ")
}

func carried(c *lifecycle.Counts) string {
	noun := "messages"
	if c.Messages() == 1 {
		noun = "message"
	}
	return fmt.Sprintf("%d %s, %s", c.Messages(), noun, amount(c.Bytes))
}

// endings are sentences for the causes.
var endings = map[lifecycle.Cause]string{
	lifecycle.CauseClientClose:     "The client closed it.",
	lifecycle.CauseUpstreamClose:   "The upstream closed it.",
	lifecycle.CauseClientGone:      "The client left without a Close frame.",
	lifecycle.CauseUpstreamGone:    "The upstream left without a Close frame.",
	lifecycle.CauseClientReset:     "The client reset its connection.",
	lifecycle.CauseUpstreamReset:   "The upstream reset its connection.",
	lifecycle.CauseClientTimeout:   "TCP gave up on the client.",
	lifecycle.CauseUpstreamTimeout: "TCP gave up on the upstream.",
	lifecycle.CauseTLSError:        "TLS broke.",
	lifecycle.CauseIdleTimeout:     "It was idle for too long.",
	lifecycle.CausePongTimeout:     "A ping was not answered.",
	lifecycle.CauseSlowPeer:        "A peer took nothing for too long.",
	lifecycle.CauseMessageTooBig:   "A message was too big.",
	lifecycle.CauseMessageRate:     "There were too many messages.",
	lifecycle.CauseProtocolError:   "A frame broke the protocol.",
	lifecycle.CauseMaxLifetime:     "It reached its greatest age.",
	lifecycle.CauseAuthExpired:     "The client's token expired.",
	lifecycle.CauseDrain:           "wsproxy is stopping.",
	lifecycle.CauseForcedStop:      "wsproxy stopped.",
	lifecycle.CauseReload:          "Its route changed.",
	lifecycle.CauseAdmin:           "An operator closed it.",
	lifecycle.CauseTunnelEnd:       "The tunnel ended.",
	lifecycle.CauseInternal:        "wsproxy is at fault.",
}

// ending tells how it ended: in a sentence, in telemetry's terms, and how good that is.
func (s *Story) ending() (sentence, terms string, how ink) {
	o := &s.Outcome
	if f := o.Failure; f != nil {
		terms = fmt.Sprintf("phase %s, reason %s", f.Phase, f.Reason)
		switch {
		case o.Status != 0:
			terms += fmt.Sprintf(", answered %d %s", o.Status, http.StatusText(o.Status))
		case s.Client != "":
			terms += ", no answer to the client"
		}
		if o.Kind == lifecycle.OutcomeRejected {
			return "wsproxy refused it.", terms, inkRed
		}
		return "It could not be opened.", terms, inkRed
	}
	c := o.Close
	terms = "cause " + c.Cause.String() + ", initiator " + c.Initiator.String()
	if c.Leg != lifecycle.LegNone {
		terms += ", leg " + c.Leg.String()
	}
	if c.Code == lifecycle.NoCode {
		terms += ", no code"
	} else {
		terms += ", code " + strconv.Itoa(c.Code)
	}
	if c.Clean {
		return endings[c.Cause], terms + ", clean", inkGreen
	}
	how = inkYellow
	if c.Abnormal() {
		how = inkRed
	}
	return endings[c.Cause], terms + ", not clean", how
}

// duration has three digits, and whole microseconds.
func duration(d time.Duration) string {
	switch {
	case d < time.Microsecond:
		return "<1 µs"
	case d.Round(time.Microsecond) < time.Millisecond:
		return strconv.FormatInt(d.Round(time.Microsecond).Microseconds(), 10) + " µs"
	case d < 999500*time.Microsecond:
		return digits(float64(d)/float64(time.Millisecond)) + " ms"
	case d < 100*time.Second:
		return digits(d.Seconds()) + " s"
	}
	return d.Round(time.Second).String()
}

// amount is so many bytes.
func amount(n uint64) string {
	if n < 1000 {
		return strconv.FormatUint(n, 10) + " B"
	}
	v := float64(n) / 1000
	for _, unit := range []string{"kB", "MB", "GB"} {
		if v < 999.5 {
			return digits(v) + " " + unit
		}
		v /= 1000
	}
	return digits(v) + " TB"
}

// digits writes a number from 1 to 1000 with three of them.
func digits(v float64) string {
	switch {
	case v >= 99.95:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func runes(s string) int { return utf8.RuneCountInString(s) }

func pad(s string, width int) string { return s + strings.Repeat(" ", max(width-runes(s), 0)) }

func padLeft(s string, width int) string { return strings.Repeat(" ", max(width-runes(s), 0)) + s }

// cut makes s fit for a terminal: what would move the cursor is replaced, as paths and close reasons are
// the peers', and what is longer than width is cut off.
func cut(s string, width int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '·'
	}, s)
	if runes(s) <= width {
		return s
	}
	return string([]rune(s)[:width-1]) + "…"
}
