package demo

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"wsproxy/lifecycle"
)

// Waterfall draws connections that have ended, a row for each phase, for a terminal.
type Waterfall struct {
	Width int  // columns, 80 to 120; 0: 100
	Color bool // with the terminal's own 16 colours
}

// Columns of a row. What is left belongs to the bars and the details.
const (
	labelWidth = 11
	startWidth = 9
	tookWidth  = 8
	gap        = 2 // before and after the bars
	indent     = 2

	detailWidth = 34 // at most
)

// Legend explains a picture; it is for the top, once.
func (w Waterfall) Legend() string {
	p := pen(w.Color)
	return p.dim("One picture is one connection, and one row is one of its phases. Bars are to scale:\n"+
		"the handshake up to "+barSeparator+", which is the moment of the 101, and then the open WebSocket.") + "\n"
}

// Render draws one connection. Above it stand the title and, unless empty, what it shows; below it what
// its client saw, unless that is empty. A story without a client is told by the client itself.
func (w Waterfall) Render(title, shows string, s *Story, seen string) string {
	d := w.drawing(s)
	d.head(title, shows)
	d.axis()
	for _, step := range s.Steps {
		d.row(step)
	}
	d.foot(seen)
	return d.String()
}

// drawing is one picture being drawn.
type drawing struct {
	strings.Builder
	pen
	*Story
	plot
	width, detail int
}

func (w Waterfall) drawing(s *Story) *drawing {
	d := &drawing{pen: pen(w.Color), Story: s, width: min(max(cmp.Or(w.Width, 100), 80), 120)}
	free := d.width - indent - labelWidth - startWidth - tookWidth - 2*gap
	d.detail = min(free/2, detailWidth)
	d.plot = newPlot(s, free-d.detail)
	return d
}

// head says which connection it is, and which way it went.
func (d *drawing) head(title, shows string) {
	title, took := cut(title, d.width/2), d.took()
	rule := strings.Repeat("─", max(d.width-runes(title)-runes(took)-8, 1))
	fmt.Fprintln(d, d.dim("──"), d.bold(title), d.dim(rule), took, d.dim("──"))
	d.line(inkNone, shows)
	d.line(inkNone, d.way())
	if d.Client != "" {
		ids := "connection " + d.ID
		if d.TraceID != "" {
			ids += "   trace " + d.TraceID
		}
		d.line(inkDim, ids)
	}
	d.WriteByte('\n')
}

// line writes a line of text, unless it is empty.
func (d *drawing) line(ink ink, text string) {
	if text != "" {
		fmt.Fprintf(d, "  %s\n", d.paint(ink, cut(text, d.width-indent)))
	}
}

// took is how long the connection took to open, and was open.
func (d *drawing) took() string {
	opened, ok := d.Opened()
	switch {
	case !ok && d.Outcome.Kind == lifecycle.OutcomeRejected:
		return "refused after " + duration(d.total())
	case !ok:
		return "failed after " + duration(d.total())
	}
	return "opened in " + duration(opened) + ", open for " + duration(d.total()-opened)
}

// way is the connection's way through the proxy, as far as it was decided.
func (s *Story) way() string {
	var hops []string
	if s.Client != "" {
		hops = append(hops, cmp.Or(s.Facts.Path, "client "+s.Client))
	}
	if s.Facts.Route != "" {
		hops = append(hops, "route "+s.Facts.Route)
	}
	if s.Facts.Egress != "" {
		hops = append(hops, "egress "+s.Facts.Egress)
	}
	if s.Facts.Target != "" {
		hops = append(hops, s.Facts.Target)
	}
	return strings.Join(hops, " → ")
}

func (d *drawing) axis() {
	text := pad("  phase", indent+labelWidth) + padLeft("start", startWidth) + padLeft("took", tookWidth) +
		strings.Repeat(" ", gap) + d.plot.axis()
	fmt.Fprintln(d, d.dim(strings.TrimRight(text, " ")))
}

// row draws a step. What transfer carried the other way stands on a row of its own.
func (d *drawing) row(step *lifecycle.Step) {
	from, to := step.Begun.Sub(d.Accepted), step.Ended.Sub(d.Accepted)
	mark, ink := "  ", inks[step.Phase]
	if step.Failure != nil {
		mark, ink = "✗ ", inkRed
	}
	label := step.Phase.String()
	if step.Attempt > 1 {
		label += " " + strconv.Itoa(step.Attempt)
	}
	start := "+" + duration(from)
	if from <= 0 {
		start = "0"
	}
	left := d.paint(ink, mark) + pad(label, labelWidth) + d.dim(padLeft(start, startWidth)) + padLeft(duration(to-from), tookWidth)
	details := d.details(step)
	d.cells(left, ink, d.bar(from, to, step.Phase), step.Failure != nil, details[0])
	for _, more := range details[1:] {
		d.cells(strings.Repeat(" ", indent+labelWidth+startWidth+tookWidth), ink, d.blank(), false, more)
	}
}

// cells writes a row whose left part is ready.
func (d *drawing) cells(left string, ink ink, bars [3]string, failed bool, detail string) {
	detail = cut(detail, d.detail)
	if failed {
		detail = d.paint(ink, detail)
	}
	space := strings.Repeat(" ", gap)
	row := left + space + d.paint(ink, bars[0]) + d.dim(bars[1]) + d.paint(ink, bars[2])
	if detail != "" {
		row += space + detail
	}
	fmt.Fprintln(d, strings.TrimRight(row, " "))
}

// foot says how it ended, in words and in those that telemetry has for it.
func (d *drawing) foot(seen string) {
	d.WriteByte('\n')
	sentence, terms, ink := d.ending()
	fmt.Fprintf(d, "%s %s\n", d.paint(ink, marks[ink]), d.bold(sentence))
	d.line(inkDim, terms)
	switch {
	case seen == "":
	case d.Client == "":
		d.line(inkNone, seen)
	default:
		d.line(inkNone, "client saw "+seen)
	}
}

// marks are for those who see no colours.
var marks = map[ink]string{inkGreen: "✓", inkYellow: "!", inkRed: "✗"}

// total is how long the connection was there.
func (s *Story) total() time.Duration {
	if len(s.Steps) == 0 {
		return 0
	}
	return s.Steps[len(s.Steps)-1].Ended.Sub(s.Accepted)
}

// Opened is when transfer began, from accept on, or false.
func (s *Story) Opened() (time.Duration, bool) {
	for _, step := range s.Steps {
		if step.Phase == lifecycle.PhaseTransfer {
			return step.Begun.Sub(s.Accepted), true
		}
	}
	return 0, false
}
