//go:build linux

package proc

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Core is what a processor did since the system started, in ticks of 10 ms.
type Core struct {
	Busy  time.Duration // in any process or interrupt
	Idle  time.Duration // and waiting for disks
	Steal time.Duration // taken by the hypervisor
}

// Cores reads every processor's times.
func Cores() ([]Core, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return nil, err
	}
	return ParseCores(b)
}

// ParseCores parses the processors' lines of /proc/stat (proc(5)). Guests' times are part of the users'.
func ParseCores(text []byte) ([]Core, error) {
	var cores []Core
	for line := range bytes.Lines(text) {
		fields := bytes.Fields(line)
		if len(fields) == 0 || !bytes.HasPrefix(fields[0], []byte("cpu")) || len(fields[0]) == len("cpu") {
			continue
		}
		if len(fields) < 9 {
			return nil, fmt.Errorf("too few fields: %q", line)
		}
		var t [8]time.Duration // user nice system idle iowait irq softirq steal
		for i := range t {
			n, err := strconv.ParseInt(string(fields[i+1]), 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", fields[0], err)
			}
			t[i] = time.Duration(n) * tick
		}
		cores = append(cores, Core{Busy: t[0] + t[1] + t[2] + t[5] + t[6], Idle: t[3] + t[4], Steal: t[7]})
	}
	return cores, nil
}

// Pin puts every thread of this process on one core, and with them those that they will start.
func Pin(core int) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := affinity(id, core); err != nil {
			return fmt.Errorf("thread %d: %w", id, err)
		}
	}
	return nil
}

func affinity(thread, core int) error {
	var set unix.CPUSet
	set.Set(core)
	if err := unix.SchedSetaffinity(thread, &set); err != nil {
		return fmt.Errorf("pin to core %d: %w", core, err)
	}
	return nil
}

// StartOn starts cmd on one core, where it stays with all its children. A negative core is any.
func StartOn(core int, cmd *exec.Cmd) error {
	if core < 0 {
		return cmd.Start()
	}
	runtime.LockOSThread() // a process starts where the thread that made it may run
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	if err := affinity(0, core); err != nil {
		return err
	}
	defer unix.SchedSetaffinity(0, &before)
	return cmd.Start()
}
