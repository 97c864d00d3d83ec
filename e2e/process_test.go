//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is a program that a test has started, in a process group of its own, with its output in a
// file. It ends with the test at the latest.
type process struct {
	name  string
	cmd   *exec.Cmd
	file  string
	ended chan struct{} // closed when the program has ended
	shown int           // lines of the log that are shown if the test fails
}

// killAfter is how long a program may take to end after SIGTERM.
const killAfter = 10 * time.Second

// start runs a program. env is added to this process's, from which OTEL_ variables are taken out.
func start(t testing.TB, name string, env []string, path string, args ...string) *process {
	t.Helper()
	p := &process{name: name, cmd: exec.Command(path, args...), ended: make(chan struct{}), shown: 25}
	file, err := os.CreateTemp(t.ArtifactDir(), strings.ReplaceAll(name, " ", "-")+"-*.log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p.file = file.Name()
	p.cmd.Stdout, p.cmd.Stderr = file, file
	p.cmd.Env = append(environment(), env...)
	p.cmd.SysProcAttr = ownGroup()
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		p.cmd.Wait() // its exit code is asked for by exitCode
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() && p.shown > 0 {
			t.Logf("the end of %s's log (%s):\n%s", name, filepath.Base(p.file), tail(p.log(t), p.shown))
		}
	})
	return p
}

// environment is this process's without what would configure telemetry.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "OTEL_") })
}

// signal sends s to the whole group.
func (p *process) signal(s syscall.Signal) error { return syscall.Kill(-p.cmd.Process.Pid, s) }

// stop ends the program and everything it has started, and returns when it has ended.
func (p *process) stop(t testing.TB) {
	t.Helper()
	p.signal(syscall.SIGTERM) // gone already: nothing to do
	if !p.wait(killAfter) {
		t.Errorf("%s did not end within %v of SIGTERM", p.name, killAfter)
	}
	p.signal(syscall.SIGKILL)
	<-p.ended
}

// wait says whether the program has ended within d.
func (p *process) wait(d time.Duration) bool {
	select {
	case <-p.ended:
		return true
	case <-time.After(d):
		return false
	}
}

// running says whether the program has not ended.
func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// exitCode is the program's, once it has ended; -1 if a signal ended it.
func (p *process) exitCode() int { return p.cmd.ProcessState.ExitCode() }

// log is what the program has written so far.
func (p *process) log(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(p.file)
	if err != nil {
		t.Error(err)
	}
	return b
}

func tail(log []byte, lines int) []byte {
	all := bytes.Split(bytes.TrimRight(log, "\n"), []byte("\n"))
	return bytes.Join(all[max(len(all)-lines, 0):], []byte("\n"))
}

const (
	patience = 20 * time.Second      // for what takes a moment
	pause    = 20 * time.Millisecond // between two looks
)

// eventually looks until check has no objection, at most for patience.
func eventually(t testing.TB, what string, check func(context.Context) error) {
	t.Helper()
	eventuallyWithin(t, patience, what, check)
}

func eventuallyWithin(t testing.TB, d time.Duration, what string, check func(context.Context) error) {
	t.Helper()
	if err := attempt(t.Context(), d, check); err != nil {
		t.Fatalf("%s, after %v: %v", what, d, err)
	}
}

// attempt is eventually without a test: it returns the last objection.
func attempt(ctx context.Context, d time.Duration, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil { // at the end the deadline's own error tells less
			last = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last
		}
	}
}

var errNotYet = errors.New("not yet")

func median(all []time.Duration) time.Duration {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}
