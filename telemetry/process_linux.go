package telemetry

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"
)

// readUsage asks the kernel.
func readUsage() (u usage, ok bool) {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return u, false
	}
	u.user, u.system = time.Duration(r.Utime.Nano()), time.Duration(r.Stime.Nano())
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return u, false
	}
	u.threads, u.resident, ok = parseStat(stat)
	u.resident *= int64(os.Getpagesize())
	u.descriptors, err = countDescriptors("/proc/self/fd")
	return u, ok && err == nil
}

// countDescriptors counts what is in a folder of descriptors. Linux 6.2 has the count in its size (proc_pid_fd(5)); to list
// 16,000 of them takes 18 ms.
func countDescriptors(folder string) (int64, error) {
	info, err := os.Stat(folder)
	if err == nil && info.Size() > 0 {
		return info.Size(), nil
	}
	fds, err := os.Open(folder)
	if err != nil {
		return 0, err
	}
	defer fds.Close()
	names, err := fds.Readdirnames(-1)
	return int64(len(names)) - 1, err // not the one that reads the folder
}

// parseStat reads fields 20 and 24 of proc_pid_stat(5), counted behind the program's name, which may
// hold anything.
func parseStat(stat []byte) (threads, pages int64, ok bool) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 22 {
		return 0, 0, false
	}
	threads, errThreads := strconv.ParseInt(string(fields[17]), 10, 64)
	pages, errPages := strconv.ParseInt(string(fields[21]), 10, 64)
	return threads, pages, errThreads == nil && errPages == nil
}
