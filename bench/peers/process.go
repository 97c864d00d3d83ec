//go:build linux

package peers

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/template"
	"time"

	"wsproxy/bench/proc"
)

//go:embed configs
var configs embed.FS

// Process is a program that was started here, and is ended here.
type Process struct {
	Site Site

	cmd    *exec.Cmd
	log    string
	ended  chan struct{} // closed when the program has ended
	tree   []int
	client http.Client
}

// Start starts a peer on a core; a negative core is any. It listens some time later: see Ready.
func (p *Peer) Start(core int, s Site) (*Process, error) {
	s.Engine = p.Engine
	for _, name := range p.files {
		if err := s.write(name); err != nil {
			return nil, err
		}
	}
	return start(core, s, p.Program, p.args(&s), p.env)
}

// StartCollector starts a collector that takes what wsproxy exports.
func StartCollector(core int, program string, s Site) (*Process, error) {
	if err := s.write("collector.yaml"); err != nil {
		return nil, err
	}
	return start(core, s, program, []string{"--config", s.file("collector.yaml")}, nil)
}

// write writes a configuration to where the peer runs.
func (s *Site) write(name string) error {
	t, err := template.ParseFS(configs, "configs/"+name)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, s); err != nil {
		return err
	}
	return os.WriteFile(s.file(name), text.Bytes(), 0o600)
}

func start(core int, s Site, program string, args, env []string) (*Process, error) {
	log, err := os.Create(s.file(filepath.Base(program) + ".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &Process{Site: s, cmd: exec.Command(program, args...), log: log.Name(), ended: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = s.Dir, log, log
	p.cmd.Env = append(environment(s.Dir), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := proc.StartOn(core, p.cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	go func() {
		p.cmd.Wait() // it does not matter how
		close(p.ended)
	}()
	return p, nil
}

// environment is this process's without what would configure telemetry or Go; what programs keep for
// themselves goes below dir.
func environment(dir string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "OTEL_") || strings.HasPrefix(v, "GO") || strings.HasPrefix(v, "XDG_")
	})
	return append(env, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
}

// Ready tries until the program serves, as try tells, or ctx ends.
func (p *Process) Ready(ctx context.Context, try func(context.Context) error) error {
	for {
		err := try(ctx)
		if err == nil {
			p.tree, err = proc.Tree(p.cmd.Process.Pid)
			return err
		}
		select {
		case <-p.ended:
			return fmt.Errorf("ended at once; %s", p.Log())
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w; %s", err, p.Log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Tree are the program's processes, as they were when it was ready.
func (p *Process) Tree() []int { return p.tree }

// Log is the end of what the program has written.
func (p *Process) Log() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("its log ends: %s", b[max(0, len(b)-2000):])
}

// stopTimeout is how long a program has after SIGTERM.
const stopTimeout = 3 * time.Second

// Stop ends the program and all that it has started.
func (p *Process) Stop() {
	p.cmd.Process.Signal(syscall.SIGTERM) // of a master, that ends its workers properly
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
	}
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // its group, which is ours to end
	<-p.ended
}

// Live is how much memory a collection leaves, in bytes: of a Go program, which tells at its admin port.
func (p *Process) Live(ctx context.Context) (float64, error) {
	text, err := p.profile(ctx, "heap?gc=1&debug=1")
	if errors.Is(err, syscall.ECONNREFUSED) {
		return math.NaN(), nil
	}
	if err != nil {
		return 0, err
	}
	return parseLive(text)
}

// Heap is a profile of what a collection leaves.
func (p *Process) Heap(ctx context.Context) ([]byte, error) { return p.profile(ctx, "heap?gc=1") }

// Profile is a CPU profile of the next so many seconds.
func (p *Process) Profile(ctx context.Context, seconds int) ([]byte, error) {
	return p.profile(ctx, fmt.Sprintf("profile?seconds=%d", seconds))
}

func (p *Process) profile(ctx context.Context, what string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+local(p.Site.Admin)+"/debug/pprof/"+what, nil)
	if err != nil {
		return nil, err
	}
	defer p.client.CloseIdleConnections()
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", what, resp.Status)
	}
	return b, err
}

// parseLive adds up the heap's and the stacks' bytes at the end of a heap profile in text.
func parseLive(text []byte) (float64, error) {
	var heap, stack float64
	found := 0
	for line := range strings.Lines(string(text)) {
		if n, _ := fmt.Sscanf(line, "# HeapAlloc = %f", &heap); n == 1 {
			found++
		}
		if n, _ := fmt.Sscanf(line, "# Stack = %f", &stack); n == 1 {
			found++
		}
	}
	if found != 2 {
		return 0, errors.New("heap profile without HeapAlloc and Stack")
	}
	return heap + stack, nil
}

// FreePorts finds ports that nobody listens on at the moment. They are below those that the kernel gives
// to outgoing connections, of which there will be thousands.
func FreePorts(n int) ([]int, error) {
	const lowest, count, tries = 10_000, 20_000, 1000
	var ports []int
	for range tries {
		l, err := net.Listen("tcp", local(lowest+rand.IntN(count)))
		if err != nil {
			continue
		}
		defer l.Close() // all at the end: no port twice
		if ports = append(ports, l.Addr().(*net.TCPAddr).Port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("found only %d free ports", len(ports))
}
