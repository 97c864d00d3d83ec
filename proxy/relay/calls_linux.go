//go:build linux && !race

package relay

import (
	"syscall"
	"unsafe"
)

// sysReadNow and sysWriteNow are read(2) and write(2) on a descriptor that never blocks. The scheduler is not told of
// them: it would take the processor of a call that lasts 20 µs, as those do that carry packets over loopback, for a
// blocked one, hand it to another thread and look for the next such call every 20 µs.
func sysReadNow(fd uintptr, b []byte) (int, error) { return call(syscall.SYS_READ, fd, b) }

func sysWriteNow(fd uintptr, b []byte) (int, error) { return call(syscall.SYS_WRITE, fd, b) }

func call(number, fd uintptr, b []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(number, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
