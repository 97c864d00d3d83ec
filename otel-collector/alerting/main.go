// Command alerting writes Prometheus' rules: recording rules for the service level objectives, and the alerts on them.
//
//	go run ./alerting rules
//	go run ./alerting -hold 1s -interval 1s FOLDER     every alert fires once it has held that long, and is looked at as often: for tests
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"go.yaml.in/yaml/v3"
)

// file is the name of what is written.
const file = "wsproxy.yaml"

func main() {
	var t tempo
	flag.DurationVar(&t.hold, "hold", 0, "how long every alert must hold before it fires, instead of its own time")
	flag.DurationVar(&t.interval, "interval", 0, "how often rules are evaluated, instead of Prometheus' evaluation_interval")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: alerting [-hold DURATION] [-interval DURATION] FOLDER")
		os.Exit(2)
	}
	if err := write(flag.Arg(0), t); err != nil {
		fmt.Fprintln(os.Stderr, "alerting:", err)
		os.Exit(1)
	}
}

// tempo is how fast rules go; zero: at their own speed.
type tempo struct{ hold, interval time.Duration }

func write(folder string, t tempo) error {
	text, err := generate(t)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, file), text, 0o644)
}

// generate is the file with every rule.
func generate(t tempo) ([]byte, error) {
	every := model.Duration(t.interval)
	groups := rulefmt.RuleGroups{Groups: []rulefmt.RuleGroup{
		{Name: "wsproxy-recorded", Interval: every, Rules: recorded()},
		{Name: "wsproxy-alerts", Interval: every},
	}}
	for _, a := range alerts() {
		groups.Groups[1].Rules = append(groups.Groups[1].Rules, a.rule(t.hold))
	}
	var text bytes.Buffer
	text.WriteString("# Made by otel-collector/alerting; change it there and run go run ./alerting rules.\n")
	e := yaml.NewEncoder(&text)
	e.SetIndent(2)
	if err := e.Encode(groups); err != nil {
		return nil, err
	}
	return text.Bytes(), e.Close()
}

// alert is what someone must look at.
type alert struct {
	name     string
	query    string
	hold     time.Duration // how long it must be so
	severity severity
	summary  string // one line, with labels as {{ $labels.x }}
	detail   string // what it means for users
}

// severity says when someone must look.
type severity string

const (
	page   severity = "page"   // now
	ticket severity = "ticket" // in working hours
)

func (a alert) rule(hold time.Duration) rulefmt.Rule {
	if hold == 0 {
		hold = a.hold
	}
	return rulefmt.Rule{
		Alert: a.name, Expr: a.query, For: model.Duration(hold),
		Labels:      map[string]string{"severity": string(a.severity)},
		Annotations: map[string]string{"summary": a.summary, "description": a.detail, "runbook": a.runbook()},
	}
}

// runbook is the page that says what to do, in the repository.
func (a alert) runbook() string { return "docs/runbooks/" + a.name + ".md" }
