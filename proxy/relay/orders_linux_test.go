package relay

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wsproxy/lifecycle"
)

// rehearsal drives a loop by hand, in one goroutine, so that what it is told of its sockets, and in which order, is ours to
// choose. The sockets are real, the endpoints' ends of them never block.
type rehearsal struct {
	t    *testing.T
	loop *loop
	c    *couple
	ends [2]int    // descriptors of the endpoints, by the direction that they send
	todo [2][]byte // to be sent
	sent [2][]byte
	got  [2][]byte // of a direction
	fins [2]bool   // the end of a direction was seen

	buf  [64 << 10]byte
	held []unix.EpollEvent // that the system has told and the loop does not know
}

func newRehearsal(t *testing.T, buffer int) *rehearsal {
	t.Helper()
	l, err := newLoop(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.pipes.most = 2
	return join(t, l, buffer)
}

// join has one more connection in the loop.
func join(t *testing.T, l *loop, buffer int) *rehearsal {
	t.Helper()
	p := &rehearsal{t: t, loop: l}
	pair := &Pair{Conn: opened(t, new(lifecycle.Registry)), Deflate: true, Policy: &Policy{}}
	pair.Client, p.ends[lifecycle.Upstream] = socketPair(t, buffer)
	pair.Upstream, p.ends[lifecycle.Downstream] = socketPair(t, buffer)
	c, err := newCouple(pair, pair.Client.(*Conn), pair.Upstream.(*Conn))
	if err != nil {
		t.Fatal(err)
	}
	p.c = c
	p.c.loop, p.c.ended = l, func() {}
	l.connections.Add(1)
	l.add(p.c)
	return p
}

// socketPair returns a leg, and the descriptor of the endpoint that it leads to.
func socketPair(t *testing.T, buffer int) (leg *Conn, end int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, buffer); err != nil {
			t.Fatal(err)
		}
	}
	f := os.NewFile(uintptr(fds[0]), "leg")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	return NewConn(c), fds[1]
}

// leave lets go of the connection, however far the play has come.
func (p *rehearsal) leave() {
	p.c.finish()
	for _, fd := range p.ends {
		unix.Close(fd)
	}
}

// exit lets go of the loop, too.
func (p *rehearsal) exit() {
	p.leave()
	p.loop.pipes.close()
	unix.Close(p.loop.event)
	p.loop.park.close()
}

// write has an endpoint send up to n bytes of what it is to send.
func (p *rehearsal) write(d lifecycle.Direction, n int) (written int) {
	if len(p.todo[d]) == 0 {
		return 0
	}
	written, err := unix.Write(p.ends[d], p.todo[d][:min(n, len(p.todo[d]))])
	if err != nil && err != unix.EAGAIN {
		p.t.Fatalf("%s: the endpoint writes: %v", d, err)
	}
	written = max(written, 0)
	p.sent[d] = append(p.sent[d], p.todo[d][:written]...)
	p.todo[d] = p.todo[d][written:]
	return written
}

// read has the endpoint that direction d leads to take up to n bytes.
func (p *rehearsal) read(d lifecycle.Direction, n int) (read int) {
	b := p.buf[:min(n, len(p.buf))]
	read, err := unix.Read(p.ends[1-d], b)
	switch {
	case err == unix.EAGAIN, p.fins[d]:
		return 0
	case err != nil:
		p.t.Fatalf("%s: the endpoint reads: %v", d, err)
	case read == 0 && n > 0:
		p.fins[d] = true
		return 1
	}
	at := len(p.got[d])
	p.got[d] = append(p.got[d], b[:read]...)
	if !bytes.HasPrefix(p.sent[d][at:], b[:read]) {
		p.t.Fatalf("%s: bytes %d to %d differ from those that were sent", d, at, at+read)
	}
	return read
}

// look asks the system for events, and keeps them from the loop.
func (p *rehearsal) look() (n int) {
	var events [16]unix.EpollEvent
	n = p.loop.poll(events[:])
	p.held = append(p.held, events[:n]...)
	return n
}

// tell gives the loop all that is held back.
func (p *rehearsal) tell() {
	p.loop.turn(p.held, time.Now())
	p.held = p.held[:0]
}

// merge makes one event of those of each socket, as epoll does when it is asked late.
func merge(events []unix.EpollEvent) (merged []unix.EpollEvent) {
	for _, e := range events {
		found := false
		for i := range merged {
			if merged[i].Fd == e.Fd {
				merged[i].Events |= e.Events
				found = true
			}
		}
		if !found {
			merged = append(merged, e)
		}
	}
	return merged
}

// split makes an event for each thing that it tells.
func split(events []unix.EpollEvent) (parts []unix.EpollEvent) {
	for _, e := range events {
		for _, bit := range []uint32{unix.EPOLLOUT, unix.EPOLLRDHUP, unix.EPOLLHUP, unix.EPOLLERR, unix.EPOLLIN} {
			if e.Events&bit != 0 {
				parts = append(parts, unix.EpollEvent{Events: bit, Fd: e.Fd})
			}
		}
	}
	return parts
}

// step does something by chance.
func (p *rehearsal) step(dice *rand.Rand) {
	d := lifecycle.Direction(dice.IntN(2))
	switch dice.IntN(8) {
	case 0, 1:
		p.write(d, 1+dice.IntN(1+dice.IntN(400_000)))
	case 2, 3:
		p.read(d, 1+dice.IntN(1+dice.IntN(400_000)))
	case 4:
		p.look()
	case 5:
		p.look()
		p.tellSome(dice)
	case 6:
		p.tellSome(dice)
	case 7: // of something that is not so
		fd := int32(p.c.sockets[d].fd)
		p.held = append(p.held, unix.EpollEvent{Events: []uint32{unix.EPOLLIN, unix.EPOLLOUT, unix.EPOLLIN | unix.EPOLLOUT}[dice.IntN(3)], Fd: fd})
	}
}

// tellSome gives the loop some of what is held back, in any order and form.
func (p *rehearsal) tellSome(dice *rand.Rand) {
	events := p.held
	switch dice.IntN(3) {
	case 0:
		events = merge(events)
	case 1:
		events = split(events)
	}
	dice.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	n := len(events)
	if dice.IntN(2) == 0 {
		n = dice.IntN(n + 1)
	}
	now := append([]unix.EpollEvent(nil), events[:n]...)
	p.held = append(p.held[:0], events[n:]...)
	p.loop.turn(now, time.Now())
}

// until plays on, in good order and holding nothing back, until done. A round in which nothing happens although it is
// not done is one that the loop has forgotten about.
func (p *rehearsal) until(what string, done func() bool) {
	p.t.Helper()
	for !done() {
		happened := p.look() + len(p.loop.ready)
		p.tell()
		for d := range lifecycle.Direction(2) {
			happened += p.write(d, 1<<20) + p.read(d, 1<<20)
		}
		if happened == 0 {
			p.t.Fatalf("%s: forgotten: upstream %d of %d bytes arrived and %d unsent, downstream %d of %d and %d unsent", what,
				len(p.got[0]), len(p.sent[0]), len(p.todo[0]), len(p.got[1]), len(p.sent[1]), len(p.todo[1]))
		}
	}
}

// arrived says whether all that the endpoints are to send is where it belongs.
func (p *rehearsal) arrived() bool {
	for d := range lifecycle.Direction(2) {
		if len(p.todo[d]) > 0 || len(p.got[d]) < len(p.sent[d]) {
			return false
		}
	}
	return true
}

// end plays on to the end of the connection, which both endpoints close in good order unless that has begun.
func (p *rehearsal) end() {
	p.t.Helper()
	p.until("traffic", p.arrived)
	if !p.c.session.closing {
		p.todo[lifecycle.Upstream] = fromClient(closing(1000, ""))
		p.until("close", p.arrived)
		p.todo[lifecycle.Downstream] = fromUpstream(closing(1000, ""))
		p.until("close", p.arrived)
	}
	for _, fd := range p.ends {
		unix.Shutdown(fd, unix.SHUT_WR)
	}
	p.until("end", func() bool { return p.c.over })
}

// TestOrders has events come in orders that once went wrong somewhere.
func TestOrders(t *testing.T) {
	const up, down = lifecycle.Upstream, lifecycle.Downstream
	bulk := fromClient(binaryOf(200_000))
	small := fromUpstream(text(500))
	for _, c := range []struct {
		name   string
		buffer int // of the sockets; 0: a small one
		act    func(p *rehearsal)
	}{
		{"bytes come with room that is not enough, in one event", 0, func(p *rehearsal) {
			p.todo = [2][]byte{bulk, small}
			for p.write(up, 50_000) > 0 {
				p.look()
				p.tell()
			}
			p.read(up, 100)
			p.write(down, 1000)
			p.look()
			p.held = []unix.EpollEvent{{Events: unix.EPOLLIN | unix.EPOLLOUT, Fd: int32(p.c.sockets[down].fd)}}
			p.tell()
			if !p.c.sockets[down].pending() {
				p.t.Error("there was room for all: nothing is shown")
			}
			if p.read(down, 1000) == 0 {
				p.t.Error("the bytes wait for others that flow the other way")
			}
		}},
		{"more at once than fits in a turn, and nothing after it", 1 << 20, func(p *rehearsal) {
			p.look() // that there is room
			p.tell()
			for range 10 {
				p.todo[up] = append(p.todo[up], fromClient(binaryOf(30_000))...)
			}
			for p.write(up, 50_000) > 0 {
			}
			p.look()
			p.tell()
			if len(p.loop.ready) == 0 {
				p.t.Error("all of it was moved in one turn")
			}
			for len(p.loop.ready) > 0 {
				p.tell()
			}
			for p.read(up, 50_000) > 0 {
			}
			if len(p.sent[up]) < turn || len(p.got[up]) < len(p.sent[up]) {
				p.t.Errorf("%d of %d bytes arrived, want all of more than %d", len(p.got[up]), len(p.sent[up]), turn)
			}
		}},
		{"room before the bytes that wait for it", 0, func(p *rehearsal) {
			p.todo[up] = bulk
			p.write(up, 50_000)
			p.held = append(p.held, unix.EpollEvent{Events: unix.EPOLLOUT, Fd: int32(p.c.sockets[down].fd)})
			p.tell()
			p.look()
			p.tell()
		}},
		{"an end is told before the bytes in front of it are read", 0, func(p *rehearsal) {
			p.todo = [2][]byte{fromClient(text(300), closing(1000, "")), fromUpstream(closing(1000, ""))}
			p.write(up, 1000)
			unix.Shutdown(p.ends[up], unix.SHUT_WR)
			p.look()
			p.held = split(p.held)
			for i, j := 0, len(p.held)-1; i < j; i, j = i+1, j-1 {
				p.held[i], p.held[j] = p.held[j], p.held[i]
			}
			p.tell()
		}},
		{"events of a connection that has ended meanwhile", 0, func(p *rehearsal) {
			fds := [2]int{p.c.sockets[up].fd, p.c.sockets[down].fd}
			p.c.session.stop(lifecycle.StopRequest{Cause: lifecycle.CauseForcedStop})
			p.loop.guard(p.c, func() {})
			for _, fd := range fds {
				p.held = append(p.held, unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLHUP, Fd: int32(fd)})
			}
			p.tell()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newRehearsal(t, cmp.Or(c.buffer, 4096))
			defer p.exit()
			c.act(p)
			p.end()
		})
	}
}

// TestAnyOrderOfEvents plays connections by the dice: traffic both ways through small buffers, readers of any speed, and
// events that come late, at once, in parts, in any order, or for nothing.
func TestAnyOrderOfEvents(t *testing.T) {
	before := descriptors()
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			dice := rand.New(rand.NewPCG(seed, 7))
			p := newRehearsal(t, 4096<<dice.IntN(8))
			defer p.exit()
			var want [2]*traffic
			for d, frames := range []func(...message) []byte{fromClient, fromUpstream} {
				var sizes []int
				for range dice.IntN(8) {
					sizes = append(sizes, dice.IntN(1+dice.IntN(400_000)))
				}
				want[d] = newTraffic(dice, frames, sizes...)
				p.todo[d] = want[d].bytes
			}
			for range 100 + dice.IntN(400) {
				p.step(dice)
			}
			p.end()
			for d := range want {
				got := p.c.session.conn.Flow(lifecycle.Direction(d)).Counts()
				if got.MessageBytes != want[d].want.MessageBytes || got.Frames != want[d].want.Frames+1 {
					t.Errorf("%s: got %+v, want %+v and a Close", lifecycle.Direction(d), got, want[d].want)
				}
			}
		})
	}
	if after := descriptors(); after > before {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
}
