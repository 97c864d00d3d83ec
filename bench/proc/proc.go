//go:build linux

// Package proc tells what processes and processors use, from /proc and the processes' CPU clocks, and
// puts processes on a core. It ends none of them.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Stat is what is used of /proc/PID/stat.
type Stat struct {
	PID, Parent int
	CPU         time.Duration // user and system time, all threads, ended ones too; in ticks of 10 ms
}

// tick is the unit of times in /proc: USER_HZ is 100 on every system that Go runs on.
const tick = time.Second / 100

// ReadStat reads /proc/PID/stat.
func ReadStat(pid int) (Stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Stat{}, err
	}
	return ParseStat(b)
}

// ParseStat parses the text of /proc/PID/stat (proc(5)). The name in it may hold spaces and parentheses.
func ParseStat(text []byte) (Stat, error) {
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return Stat{}, fmt.Errorf("no name in %q", text)
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(text[:open])))
	fields := bytes.Fields(text[end+1:]) // from the third on
	if err != nil || len(fields) < 13 {
		return Stat{}, fmt.Errorf("not a process: %q", text)
	}
	parent, err := strconv.Atoi(string(fields[1]))
	user, errUser := strconv.ParseInt(string(fields[11]), 10, 64)
	system, errSystem := strconv.ParseInt(string(fields[12]), 10, 64)
	if err := errors.Join(err, errUser, errSystem); err != nil {
		return Stat{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return Stat{PID: pid, Parent: parent, CPU: time.Duration(user+system) * tick}, nil
}

// Tree is pid and all processes below it, as they are now.
func Tree(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	children := make(map[int][]int)
	for _, e := range entries {
		id, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if s, err := ReadStat(id); err == nil { // gone meanwhile, if not
			children[s.Parent] = append(children[s.Parent], id)
		}
	}
	tree := []int{pid}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, children[tree[i]]...)
	}
	return tree, nil
}

// CPU is the CPU time that processes have used, in nanoseconds. It is utime and stime of /proc/PID/stat
// without their rounding: the kernel has a clock for each process (clock_getcpuclockid(3)).
func CPU(pids ...int) (time.Duration, error) {
	const perProcess = 2 // CPUCLOCK_SCHED of the thread group
	var sum time.Duration
	for _, pid := range pids {
		var t unix.Timespec
		if err := unix.ClockGettime(int32(^pid<<3|perProcess), &t); err != nil {
			return 0, fmt.Errorf("CPU clock of process %d: %w", pid, err)
		}
		sum += time.Duration(t.Nano())
	}
	return sum, nil
}

// Memory is the proportional set size of processes in bytes: a page that n of them share counts 1/n in each.
func Memory(pids ...int) (int64, error) {
	var sum int64
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return 0, err
		}
		pss, err := ParsePSS(b)
		if err != nil {
			return 0, fmt.Errorf("process %d: %w", pid, err)
		}
		sum += pss
	}
	return sum, nil
}

// ParsePSS finds the proportional set size, in bytes, in the text of /proc/PID/smaps_rollup.
func ParsePSS(text []byte) (int64, error) {
	for line := range bytes.Lines(text) {
		fields := bytes.Fields(line)
		if len(fields) == 3 && string(fields[0]) == "Pss:" && string(fields[2]) == "kB" {
			kib, err := strconv.ParseInt(string(fields[1]), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("no Pss in smaps_rollup")
}

// Descriptors is how many descriptors processes have open.
func Descriptors(pids ...int) (int, error) {
	sum := 0
	for _, pid := range pids {
		d, err := os.Open(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			return 0, err
		}
		names, err := d.Readdirnames(-1)
		d.Close()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
		sum += len(names)
	}
	return sum, nil
}
