//go:build unix

package main

import (
	"math"
	"syscall"
)

// descriptors is how many the process may have open (RLIMIT_NOFILE), 0 for any number, and how many it
// has. Go has raised the soft limit to the hard one.
func descriptors() (limit, open int) {
	var r syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) != nil || uint64(r.Cur) > math.MaxInt32 {
		return 0, 0
	}
	return int(r.Cur), countOpen()
}
