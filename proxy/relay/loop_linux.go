package relay

import (
	"container/heap"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"wsproxy/lifecycle"
	"wsproxy/proxy/frame"
)

// loop is one event loop. All that is not atomic or under mu belongs to its goroutine.
type loop struct {
	id      int
	log     *slog.Logger
	epoll   int
	event   int // eventfd that wakes the loop
	sockets []*socket
	buf     [frame.MaxHeld + bufferSize]byte
	ready   []*lane // to be pumped again, others first
	spare   []*lane
	timers  timers
	pipes   pipes
	budget  budget
	now     time.Time // of this turn
	park    *park
	front   time.Time // when a connection came or went

	mu      sync.Mutex
	inbox   []func()
	woken   bool
	stopped bool

	connections atomic.Int64
	stats       stats
}

// batch is how many events one wait may bring.
const batch = 256

// close has the loop end.
func (l *loop) close() {
	l.mu.Lock()
	l.stopped = true
	l.mu.Unlock()
	l.do(func() {})
}

func newLoop(id int, log *slog.Logger) (*loop, error) {
	l := &loop{id: id, log: log}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	if l.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		unix.Close(l.epoll)
		return nil, err
	}
	wake := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(l.event)}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, l.event, &wake); err != nil {
		unix.Close(l.event)
		unix.Close(l.epoll)
		return nil, err
	}
	if l.park, err = newPark(l.epoll); err != nil {
		unix.Close(l.event)
		unix.Close(l.epoll)
		return nil, err
	}
	return l, nil
}

// do has f called by the loop.
func (l *loop) do(f func()) {
	l.mu.Lock()
	l.inbox = append(l.inbox, f)
	wake := !l.woken
	l.woken = true
	l.mu.Unlock()
	if wake {
		var one = [8]byte{1}
		unix.Write(l.event, one[:]) // can only fail if a wake-up is pending
	}
}

// take empties the inbox; it reports whether the loop is to end.
func (l *loop) take() (calls []func(), stop bool) {
	var count [8]byte
	unix.Read(l.event, count[:])
	l.mu.Lock()
	defer l.mu.Unlock()
	calls, l.inbox, l.woken = l.inbox, nil, false
	return calls, l.stopped
}

func (l *loop) run() {
	defer l.park.close()
	defer unix.Close(l.event)
	defer l.pipes.close()
	events := make([]unix.EpollEvent, batch)
	last := 0
	for turns := 1; ; turns++ {
		n := l.wait(events, last)
		last = n
		begun := time.Now()
		if l.turn(events[:n], begun) {
			return
		}
		l.stats.turn(n, begun, time.Now())
		if turns%16 == 0 {
			runtime.Gosched() // a loop that is never idle lets handshakes of its processor run
		}
	}
}

// turn handles events, and what was left of the turn before. It reports whether the loop is to end. Each lane has its
// turn once: what it leaves waits until the others' next events are told.
func (l *loop) turn(events []unix.EpollEvent, now time.Time) (stop bool) {
	l.now = now
	left := l.ready
	l.ready = l.spare[:0]
	for i := range events {
		if int(events[i].Fd) != l.event {
			l.dispatch(&events[i])
			continue
		}
		calls, stop := l.take()
		for _, f := range calls {
			f()
		}
		if stop {
			return true
		}
	}
	l.again(left)
	l.expire()
	return false
}

// wait gets the next events. After a turn that had many, or with work left, it only looks; else it
// blocks its thread, which is cheaper than parking in Go's poller, unless connections are being set up.
func (l *loop) wait(events []unix.EpollEvent, last int) int {
	if len(l.ready) > 0 || last >= 16 {
		if n := l.poll(events); n > 0 || len(l.ready) > 0 {
			return n
		}
	}
	now := time.Now()
	wait := l.timers.wait(now)
	if now.Sub(l.front) < frontTime {
		n := l.park.wait(events, now, wait)
		l.stats.wakeups.Add(1)
		return n
	}
	n, err := unix.EpollWait(l.epoll, events, wait)
	if err != nil {
		return 0 // interrupted
	}
	l.stats.wakeups.Add(1)
	return n
}

func (l *loop) poll(events []unix.EpollEvent) int { return pollNow(l.epoll, events) }

// pollNow looks for events without waiting.
func pollNow(epoll int, events []unix.EpollEvent) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// dispatch handles what epoll says of one socket. Edges are remembered first, so that none is lost to
// what handling the others leads to.
func (l *loop) dispatch(e *unix.EpollEvent) {
	if int(e.Fd) >= len(l.sockets) || l.sockets[e.Fd] == nil {
		return // closed earlier in this turn
	}
	s := l.sockets[e.Fd]
	c := s.couple
	if e.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		s.hup = true
	}
	if e.Events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		s.readable, s.drained = true, false
	}
	l.guard(c, func() {
		if e.Events&unix.EPOLLERR != 0 && (c.other(s).pending() || c.session.throttled(s.dir)) {
			c.broken(s)
		}
		if e.Events&unix.EPOLLOUT != 0 && s.pending() {
			c.flushed(s)
		}
		c.pump(s.dir)
		if e.Events&unix.EPOLLOUT != 0 {
			c.pump(1 - s.dir)
		}
	})
}

// again pumps lanes whose turn was over before their work was.
func (l *loop) again(lanes []*lane) {
	for _, lane := range lanes {
		lane.queued = false
		if c := lane.couple; !c.over {
			l.guard(c, func() { c.pump(lane.dir) })
		}
	}
	clear(lanes)
	l.spare = lanes
}

func (l *loop) queue(lane *lane) {
	if !lane.queued {
		lane.queued = true
		l.ready = append(l.ready, lane)
	}
}

// update changes a couple's session from outside its lanes.
func (l *loop) update(c *couple, f func(*session)) {
	if !c.over {
		l.guard(c, func() { f(c.session) })
	}
}

// guard handles something of one couple and what follows from it. A fault of ours ends that couple
// alone.
func (l *loop) guard(c *couple, f func()) {
	defer func() {
		if v := recover(); v != nil {
			l.report(c, v)
			c.fault()
		}
	}()
	f()
	c.settle()
}

func (l *loop) report(c *couple, v any) {
	l.log.Error("relay failed", "connection.id", c.session.conn.ID, "error", fmt.Sprint(v), "stack", string(debug.Stack()))
}

// add takes up a couple.
func (l *loop) add(c *couple) {
	l.now = time.Now()
	l.front = l.now
	for i := range c.sockets {
		s := &c.sockets[i]
		for s.fd >= len(l.sockets) {
			l.sockets = append(l.sockets, make([]*socket, 1024)...)
		}
		l.sockets[s.fd] = s
		e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(s.fd)}
		if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, s.fd, &e); err != nil {
			c.session.failed(s.dir.From(), fmt.Errorf("epoll: %w", err))
		}
	}
	l.guard(c, func() {
		c.pump(lifecycle.Upstream)
		c.pump(lifecycle.Downstream)
		c.probe(l.now)
	})
}

// expire does what is due.
func (l *loop) expire() {
	for len(l.timers) > 0 && !l.now.Before(l.timers[0].due) {
		c := l.timers[0]
		l.guard(c, func() { c.tick(l.now) })
		if c.timer != noTimer && !l.now.Before(c.due) { // nothing came of it: never spin
			l.timers.set(c, l.now.Add(10*time.Millisecond))
		}
	}
}

// timers is a heap of the couples that wait for a moment.
type timers []*couple

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].due.Before(t[j].due) }
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].timer, t[j].timer = i, j
}
func (t *timers) Push(x any) {
	c := x.(*couple)
	c.timer = len(*t)
	*t = append(*t, c)
}
func (t *timers) Pop() any {
	last := len(*t) - 1
	c := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	c.timer = noTimer
	return c
}

const noTimer = -1

// set has c ticked at the given time; zero is never.
func (t *timers) set(c *couple, at time.Time) {
	switch {
	case at.IsZero() && c.timer != noTimer:
		heap.Remove(t, c.timer)
	case at.IsZero():
	case c.timer == noTimer:
		c.due = at
		heap.Push(t, c)
	case !c.due.Equal(at):
		c.due = at
		heap.Fix(t, c.timer)
	}
}

// move is set, but leaves a timer that is too early where it is: it finds nothing due and is set anew then,
// while to move it with every message would cost more than the message.
func (t *timers) move(c *couple, at, now time.Time) {
	if c.timer == noTimer || at.IsZero() || !at.After(c.due) || !c.due.After(now) {
		t.set(c, at)
	}
}

// wait is how long epoll may wait, in milliseconds rounded up; -1 without end.
func (t timers) wait(now time.Time) int {
	if len(t) == 0 {
		return -1
	}
	return int(max((t[0].due.Sub(now)+time.Millisecond-1)/time.Millisecond, 0))
}
