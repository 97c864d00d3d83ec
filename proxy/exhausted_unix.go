//go:build unix

package proxy

import (
	"errors"
	"syscall"
)

// isExhausted reports an accept that failed for want of descriptors or memory, which may pass, or
// because the client left the backlog.
func isExhausted(err error) bool {
	for _, e := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
