package relay

import (
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// pipe carries payload from one socket to another without bringing it into the process.
type pipe struct {
	r, w int
	n    int // bytes in it
}

const (
	// spliceFrom is how much of a frame must be left for a pipe to be worth its system calls.
	spliceFrom = 64 << 10

	// pipeSize is asked for; the system gives less where the user's share of pipe memory is used up.
	pipeSize = 256 << 10

	// maxPipes bounds a loop's pipes: two descriptors each, while a large frame is under way.
	maxPipes = 64
)

// pipesFor is how many pipes each of some loops may have: all of theirs together are no more than a
// thirty-second of the process's descriptors.
func pipesFor(loops int) int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return int(min(limit.Cur/64/uint64(loops), maxPipes))
}

// pipes are a loop's; idle ones are kept.
type pipes struct {
	most int
	idle []*pipe
	made int
}

// get returns nil when there is none to be had: then bytes are copied.
func (p *pipes) get() *pipe {
	if n := len(p.idle); n > 0 {
		taken := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return taken
	}
	var fds [2]int
	if p.made >= p.most || unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
		return nil
	}
	unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, pipeSize)
	p.made++
	return &pipe{r: fds[0], w: fds[1]}
}

// put takes a pipe back. One with bytes in it can't be another's.
func (p *pipes) put(used *pipe) {
	if used.n == 0 {
		p.idle = append(p.idle, used)
		return
	}
	p.made--
	used.close()
}

func (p *pipes) close() {
	for _, idle := range p.idle {
		idle.close()
	}
	p.idle = nil
}

func (p *pipe) close() {
	unix.Close(p.r)
	unix.Close(p.w)
}

// fill takes up to limit bytes out of a socket.
func (p *pipe) fill(fd, limit int) (int, error) {
	n, err := splice(fd, p.w, min(limit, pipeSize))
	p.n += n
	if err == nil && n == 0 {
		err = io.EOF
	}
	return n, err
}

// drain writes what the socket takes now.
func (p *pipe) drain(fd int) error {
	for p.n > 0 {
		n, err := splice(p.r, fd, p.n)
		if err == error(errWouldBlock) {
			return nil
		}
		if err != nil {
			return err
		}
		p.n -= n
	}
	return nil
}

func splice(from, to, limit int) (int, error) {
	for {
		const flags = unix.SPLICE_F_MOVE | unix.SPLICE_F_NONBLOCK
		n, _, errno := unix.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(limit), flags) // as sysReadNow
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, errWouldBlock
		default:
			return 0, os.NewSyscallError("splice", errno)
		}
	}
}
