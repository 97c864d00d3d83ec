package demo

import (
	"strconv"
	"strings"
	"time"

	"wsproxy/lifecycle"
)

// plot is where the bars are: the handshake's panel and, for a connection that opened, a separator and
// the panel of what came after the 101.
type plot struct {
	handshake, open panel
}

const barSeparator = "│"

// newPlot divides the columns.
func newPlot(s *Story, columns int) plot {
	end := s.total()
	opened, ok := s.Opened()
	if !ok {
		return plot{handshake: panel{to: end, columns: columns}}
	}
	right := columns / 3
	return plot{
		handshake: panel{to: opened, columns: columns - right - 1},
		open:      panel{from: opened, to: end, columns: right},
	}
}

// bar is a row: the left panel, the separator and the right panel.
func (p plot) bar(from, to time.Duration, phase lifecycle.Phase) [3]string {
	row := p.blank()
	if phase >= lifecycle.PhaseTransfer && p.open.columns > 0 {
		g := solid
		if phase == lifecycle.PhaseTransfer {
			g = thin
		}
		row[2] = p.open.bar(from, to, g)
	} else {
		row[0] = p.handshake.bar(from, to, solid)
	}
	return row
}

// blank is a row without a bar.
func (p plot) blank() [3]string {
	row := [3]string{strings.Repeat(" ", p.handshake.columns)}
	if p.open.columns > 0 {
		row[1], row[2] = barSeparator, strings.Repeat(" ", p.open.columns)
	}
	return row
}

// axis is the row of times above.
func (p plot) axis() string {
	axis := p.handshake.axis()
	if p.open.columns == 0 {
		return axis
	}
	return axis + barSeparator + p.open.axis()
}

// panel is a stretch of time, drawn to scale.
type panel struct {
	from, to time.Duration
	columns  int
}

// glyphs draw a bar: its left half of a cell, its right half, and a full one.
type glyphs struct{ left, right, full rune }

var (
	solid = glyphs{'▌', '▐', '█'}
	thin  = glyphs{'╸', '╺', '━'}
)

// bar draws a stretch of time to half a cell, and at least that.
func (p panel) bar(from, to time.Duration, g glyphs) string {
	begin := min(p.halves(from), 2*p.columns-1)
	end := min(max(p.halves(to), begin+1), 2*p.columns)
	cells := make([]rune, p.columns)
	for i := range cells {
		left, right := begin <= 2*i && 2*i < end, begin <= 2*i+1 && 2*i+1 < end
		switch {
		case left && right:
			cells[i] = g.full
		case left:
			cells[i] = g.left
		case right:
			cells[i] = g.right
		default:
			cells[i] = ' '
		}
	}
	return string(cells)
}

// halves is the place of a moment, in half cells, rounded.
func (p panel) halves(at time.Duration) int {
	span := max(p.to-p.from, 1)
	return int((float64(max(at-p.from, 0))*float64(2*p.columns))/float64(span) + 0.5)
}

// tickColumns is how far apart the times on the axis are at least.
const tickColumns = 8

// axis writes the first and the last moment at their places, counted from the first, and round times
// where they fit between.
func (p panel) axis() string {
	span := max(p.to-p.from, 1)
	last := duration(span)
	if runes(last)+2 > p.columns {
		return padLeft(last, p.columns)
	}
	axis := "0"
	every := p.every(span)
	for at := every; at < span; at += every {
		label, place := tick(at), p.halves(p.from+at)/2
		if place+runes(label)+2+runes(last) > p.columns {
			break
		}
		axis = pad(axis, place) + label
	}
	return axis + padLeft(last, p.columns-runes(axis))
}

// every is the round time from tick to tick.
func (p panel) every(span time.Duration) time.Duration {
	for _, e := range roundTimes(span) {
		if float64(p.columns)*float64(e)/float64(span) >= tickColumns {
			return e
		}
	}
	return span
}

// roundTimes are 1, 2 and 5 of each power of ten up to d.
func roundTimes(d time.Duration) []time.Duration {
	var all []time.Duration
	for e := time.Microsecond; e <= d; e *= 10 {
		all = append(all, e, 2*e, 5*e)
	}
	return all
}

// tick is a round time, from a microsecond on.
func tick(d time.Duration) string {
	if d >= 100*time.Second {
		return duration(d)
	}
	size, unit := time.Second, " s"
	if d < time.Millisecond {
		size, unit = time.Microsecond, " µs"
	} else if d < time.Second {
		size, unit = time.Millisecond, " ms"
	}
	return strconv.FormatFloat(float64(d)/float64(size), 'f', -1, 64) + unit
}
