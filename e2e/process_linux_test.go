//go:build e2e

package e2e

import "syscall"

// ownGroup makes a process the head of a group, and has it end with this one, however that ends.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
