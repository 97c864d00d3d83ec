//go:build e2e && !linux

package e2e

import "syscall"

// ownGroup makes a process the head of a group.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
