package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// scraped is what one scrape of /metrics has.
type scraped struct {
	values map[string]float64 // by series, as they are written
	sums   map[string]bool    // the series that never become less
}

var typeLine = regexp.MustCompile(`^# TYPE (\w+) (counter|histogram)$`)

func (r *rig) scraped() scraped {
	s := scraped{make(map[string]float64), make(map[string]bool)}
	family := ""
	for line := range strings.Lines(r.scrape()) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "# TYPE ") {
			family = ""
			if sums := typeLine.FindStringSubmatch(line); sums != nil {
				family = sums[1]
			}
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		if v, err := strconv.ParseFloat(line[at+1:], 64); err == nil && line[0] != '#' {
			s.values[line[:at]] = v
			s.sums[line[:at]] = family != "" && strings.HasPrefix(line, family)
		}
	}
	return s
}

// sum adds up the series of a metric that have all of labels.
func (s scraped) sum(name string, labels ...string) (sum int) {
series:
	for series, v := range s.values {
		if metric, _, _ := strings.Cut(series, "{"); metric != name {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(series, l) {
				continue series
			}
		}
		sum += int(v)
	}
	return sum
}

// by adds up the series of a metric by the values of labels, with a space between them; nothing is there of zeros.
func (s scraped) by(name string, labels ...string) map[string]int {
	all := make(map[string]int)
	for series, v := range s.values {
		if metric, _, _ := strings.Cut(series, "{"); metric != name || v == 0 {
			continue
		}
		var values []string
		for _, l := range labels {
			if found := regexp.MustCompile(`[{,]` + l + `="([^"]*)"`).FindStringSubmatch(series); found != nil {
				values = append(values, found[1])
			}
		}
		if len(values) == len(labels) {
			all[strings.Join(values, " ")] += int(v)
		}
	}
	return all
}

// dips are the sums that have become less than they were before, or are gone.
func (s scraped) dips(before scraped) (all []string) {
	for series, was := range before.values {
		if is, there := s.values[series]; before.sums[series] && (!there || is < was) {
			all = append(all, fmt.Sprintf("%s: %g after %g", series, is, was))
		}
	}
	return all
}

// disagreements are what can't be at any moment: more ends than beginnings.
func (s scraped) disagreements() (all []string) {
	accepted, opened, closed := s.sum("wsproxy_connection_accepted_total"), s.sum("wsproxy_connection_opened_total"), s.sum("wsproxy_connection_closes_total")
	rejected, failed := s.sum("wsproxy_connection_rejected_total"), s.sum("wsproxy_connection_failed_total")
	if accepted < opened+rejected+failed {
		all = append(all, fmt.Sprintf("%d accepted, but %d opened, %d rejected and %d failed", accepted, opened, rejected, failed))
	}
	if opened < closed {
		all = append(all, fmt.Sprintf("%d opened, but %d closed", opened, closed))
	}
	return all
}
