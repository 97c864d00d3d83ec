//go:build unix && (!linux || race)

package relay

import "syscall"

// sysReadNow and sysWriteNow are read(2) and write(2) on a descriptor that never blocks. The race detector learns from
// the standard library's what they order.
func sysReadNow(fd uintptr, b []byte) (int, error) { return syscall.Read(int(fd), b) }

func sysWriteNow(fd uintptr, b []byte) (int, error) { return syscall.Write(int(fd), b) }
