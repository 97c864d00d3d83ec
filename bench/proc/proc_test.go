//go:build linux

package proc

import (
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	cases := map[string]struct {
		text string
		want Stat
		fail bool
	}{
		"plain": {"42 (nginx) S 1 42 42 0 -1 4194560 130 0 0 0 12 30 0 0 20 0 1 0 100 9000 1000 18446744073709551615 1 1 0",
			Stat{PID: 42, Parent: 1, CPU: 420 * time.Millisecond}, false},
		"a name with parentheses": {"7 (a) b (c) R 3 7 7 0 -1 0 0 0 0 0 1 0 0 0 20 0 1 0 1 1 1",
			Stat{PID: 7, Parent: 3, CPU: 10 * time.Millisecond}, false},
		"empty":      {"", Stat{}, true},
		"cut":        {"42 (nginx) S 1 42", Stat{}, true},
		"no pid":     {"x (nginx) S 1 42 42 0 -1 4194560 130 0 0 0 12 30 0 0", Stat{}, true},
		"no numbers": {"42 (nginx) S 1 42 42 0 -1 4194560 130 0 0 0 x 30 0 0", Stat{}, true},
	}
	for name, tc := range cases {
		got, err := ParseStat([]byte(tc.text))
		if (err != nil) != tc.fail || err == nil && got != tc.want {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, tc.want)
		}
	}
}

func TestParseCores(t *testing.T) {
	got, err := ParseCores([]byte("cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 100 20 30 400 50 6 7 8 99 99\ncpu1 0 0 0 1 0 0 0 0 0 0\nintr 5 5\n"))
	want := []Core{
		{Busy: 1630 * time.Millisecond, Idle: 4500 * time.Millisecond, Steal: 80 * time.Millisecond},
		{Idle: 10 * time.Millisecond},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{"cpu0 1 2 3\n", "cpu0 1 2 3 4 x 6 7 8\n"} {
		if got, err := ParseCores([]byte(bad)); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, got)
		}
	}
}

func TestParsePSS(t *testing.T) {
	got, err := ParsePSS([]byte("55d0-7fff ---p 00000000 00:00 0 [rollup]\nRss:  900 kB\nPss:   12 kB\nPss_Anon: 3 kB\n"))
	if err != nil || got != 12<<10 {
		t.Errorf("got %d, %v, want %d", got, err, 12<<10)
	}
	if got, err := ParsePSS([]byte("Rss: 900 kB\n")); err == nil {
		t.Errorf("without Pss: got %d, want an error", got)
	}
}

func TestCPUAgreesWithStat(t *testing.T) {
	for began := time.Now(); time.Since(began) < 50*time.Millisecond; {
	}
	exact, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ReadStat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if d := (exact - s.CPU).Abs(); d > 50*time.Millisecond {
		t.Errorf("got %v by the clock, %v in /proc/PID/stat", exact, s.CPU)
	}
	if _, err := CPU(1 << 22); err == nil {
		t.Error("a process that can't exist: no error")
	}
}

func TestOwnProcess(t *testing.T) {
	if m, err := Memory(os.Getpid()); err != nil || m < 1<<20 {
		t.Errorf("memory: got %d, %v, want more than 1 MiB", m, err)
	}
	before, err := Descriptors(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if after, err := Descriptors(os.Getpid()); err != nil || after != before+1 {
		t.Errorf("descriptors: got %d, %v, want %d", after, err, before+1)
	}
	if cores, err := Cores(); err != nil || len(cores) == 0 {
		t.Errorf("cores: got %v, %v", cores, err)
	}
}

func TestStartOn(t *testing.T) {
	cmd := exec.Command("sh", "-c", "grep Cpus_allowed_list /proc/self/status; read x")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := StartOn(0, cmd); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	var b [64]byte
	n, _ := out.Read(b[:])
	if got, want := string(b[:n]), "Cpus_allowed_list:\t0\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	tree, err := Tree(os.Getpid())
	if err != nil || !slices.Contains(tree, cmd.Process.Pid) || tree[0] != os.Getpid() {
		t.Errorf("tree: got %v, %v, want it to hold %d", tree, err, cmd.Process.Pid)
	}
}
