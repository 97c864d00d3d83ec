package admin

import (
	"os"
	"syscall"
)

// openDescriptors is nil if they cannot be counted.
func openDescriptors() *descriptors {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return nil
	}
	const folder = "/proc/self/fd"
	if info, err := os.Stat(folder); err == nil && info.Size() > 0 { // Linux 6.2 has the count there
		return &descriptors{Open: int(info.Size()), Limit: limit.Cur}
	}
	f, err := os.Open(folder)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil
	}
	return &descriptors{Open: len(names) - 1, Limit: limit.Cur} // f itself is not counted
}
