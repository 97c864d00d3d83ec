package relay

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// frontTime is how long after a connection came or went a loop takes others to be set up beside it.
const frontTime = 20 * time.Millisecond

// park waits for a loop's events in Go's poller, with the goroutines that set connections up. A thread
// blocked in epoll_wait keeps its processor from them until the runtime's monitor takes it away, and then
// has to wait for one itself: while connections come and go that is a good part of what they cost. While
// none do, blocking is cheaper.
type park struct {
	file  *os.File // the epoll descriptor; owns it
	raw   syscall.RawConn
	until time.Time // deadline that file has

	// Of the look under way, kept here so that nothing is allocated for it:
	look func(fd uintptr) bool
	into []unix.EpollEvent
	n    int
}

// newPark takes over an epoll descriptor.
func newPark(epoll int) (*park, error) {
	if err := unix.SetNonblock(epoll, true); err != nil { // or Go would not poll it
		return nil, fmt.Errorf("epoll: %w", err)
	}
	p := &park{file: os.NewFile(uintptr(epoll), "epoll")}
	var err error
	if p.raw, err = p.file.SyscallConn(); err != nil {
		return nil, err
	}
	p.look = func(fd uintptr) bool {
		p.n = pollNow(int(fd), p.into)
		return p.n > 0
	}
	return p, nil
}

// wait brings events, none when it was woken for another reason; wait is in milliseconds, -1 without end.
func (p *park) wait(events []unix.EpollEvent, now time.Time, wait int) int {
	var until time.Time
	if wait >= 0 {
		until = now.Add(time.Duration(wait) * time.Millisecond)
	}
	// A deadline that comes too early is one look for nothing; to set one for every wait costs more.
	if passed := !p.until.IsZero() && !now.Before(p.until); passed || !until.IsZero() && (p.until.IsZero() || until.Before(p.until)) {
		p.until = until
		if p.file.SetReadDeadline(until) != nil {
			return 0
		}
	}
	p.into, p.n = events, 0
	if p.raw.Read(p.look) != nil { // the deadline
		p.n = 0
	}
	p.into = nil
	return p.n
}

func (p *park) close() { p.file.Close() }
