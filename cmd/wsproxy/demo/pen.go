package demo

import (
	"strings"

	"wsproxy/lifecycle"
)

// ink is a colour of the terminal's (ECMA-48 SGR).
type ink string

const (
	inkNone    ink = ""
	inkBold    ink = "1"
	inkDim     ink = "2"
	inkRed     ink = "31"
	inkGreen   ink = "32"
	inkYellow  ink = "33"
	inkBlue    ink = "34"
	inkMagenta ink = "35"
	inkCyan    ink = "36"
)

// inks are the phases' colours.
var inks = map[lifecycle.Phase]ink{
	lifecycle.PhaseTLSAccept: inkYellow,
	lifecycle.PhaseDNS:       inkCyan,
	lifecycle.PhaseConnect:   inkBlue,
	lifecycle.PhaseProxy:     inkMagenta,
	lifecycle.PhaseTLS:       inkYellow,
	lifecycle.PhaseUpgrade:   inkGreen,
	lifecycle.PhaseTransfer:  inkGreen,
}

// pen writes in colour, or does not.
type pen bool

func (p pen) paint(i ink, text string) string {
	if !p || i == inkNone || strings.TrimSpace(text) == "" {
		return text
	}
	return "\x1b[" + string(i) + "m" + text + "\x1b[0m"
}

func (p pen) bold(text string) string { return p.paint(inkBold, text) }
func (p pen) dim(text string) string  { return p.paint(inkDim, text) }
