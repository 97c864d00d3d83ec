//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
)

// peer is a maker of WebSocket clients and servers in a language of its own.
type peer struct {
	name    string
	program string   // by the name that servers/get gives it
	needs   []string // besides the program
	suffix  string   // of its scripts in clients/
}

var (
	python = peer{name: "python", program: "python3", suffix: ".py"}
	node   = peer{name: "node", program: "node", needs: []string{"node_modules"}, suffix: ".cjs"}
)

func (h *house) startPeer(t *testing.T, p peer, script string, args ...string) *process {
	t.Helper()
	env := []string{"NODE_PATH=" + h.programs["node_modules"], "PYTHONWARNINGS=error"}
	script = filepath.Join("clients", script+p.suffix)
	return start(t, p.name, env, h.programs[p.program], append([]string{script}, args...)...)
}

// report waits for the line of JSON that a script prints.
func (p *process) report(t *testing.T, to any) {
	t.Helper()
	eventually(t, p.name+" reports", func(context.Context) error {
		log := p.log(t)
		for line := range bytes.Lines(log) {
			if bytes.HasPrefix(line, []byte("{")) && bytes.HasSuffix(line, []byte("\n")) {
				return json.Unmarshal(line, to)
			}
		}
		if !p.running() {
			t.Fatalf("%s ended: %s", p.name, log)
		}
		return errNotYet
	})
}

// server is an upstream of another maker.
type server struct{ plain, secure string }

func (h *house) startServer(t *testing.T, p peer) server {
	t.Helper()
	var ports struct{ Plain, Secure int }
	h.startPeer(t, p, "echo", h.cert, h.key).report(t, &ports)
	return server{plain: fmt.Sprintf("127.0.0.1:%d", ports.Plain), secure: fmt.Sprintf("127.0.0.1:%d", ports.Secure)}
}

// talk is what a client of another maker saw.
type talk struct {
	Sent, Received          int
	Subprotocol, Extensions string
	Code                    int
}

// talk has another maker's client send two messages of each size through wsproxy and leave.
func (h *house) talk(t *testing.T, p peer, url string, sizes []int) talk {
	t.Helper()
	list, err := json.Marshal(sizes)
	if err != nil {
		t.Fatal(err)
	}
	var seen talk
	process := h.startPeer(t, p, "talk", url, h.caFile, string(list))
	process.report(t, &seen)
	if !process.wait(patience) || process.exitCode() != 0 {
		t.Errorf("%s: %s", p.name, process.log(t))
	}
	return seen
}
