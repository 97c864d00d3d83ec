//go:build linux

package proc

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Urgent locks the calling goroutine to its thread, and has that thread run before all others of its core until it waits
// (sched(7), SCHED_RR), until done is called. Without the right to do so it runs as all do. The thread must not end with its
// goroutine: a process that it has started would (prctl(2), PR_SET_PDEATHSIG).
func Urgent() (done func()) {
	runtime.LockOSThread()
	schedule(unix.SCHED_RR, 1)
	return func() {
		schedule(unix.SCHED_NORMAL, 0)
		runtime.UnlockOSThread()
	}
}

func schedule(policy, priority uint32) {
	unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: policy, Priority: priority}, 0)
}
