package relay

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParkBringsEventsAndKeepsDeadlines(t *testing.T) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(event)
	p, err := newPark(epoll)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(event)}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, event, &e); err != nil {
		t.Fatal(err)
	}
	signal := func() { unix.Write(event, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }
	events := make([]unix.EpollEvent, 4)

	for _, step := range []struct {
		name string
		wait int // milliseconds
		act  func()
		want int
	}{
		{"an event that is there", -1, signal, 1},
		{"nothing, with a deadline", 5, func() {}, 0},
		{"nothing, after a deadline that passed", 5, func() {}, 0},
		{"an event that comes, with a later deadline", 60_000, func() { go signal() }, 1},
		{"nothing, with a deadline before that one", 5, func() {}, 0},
		{"an event that comes, without a deadline", -1, func() { go signal() }, 1},
	} {
		step.act()
		begun := time.Now()
		if got := p.wait(events, begun, step.wait); got != step.want {
			t.Errorf("%s: got %d events, want %d", step.name, got, step.want)
		}
		if took := time.Since(begun); step.want == 0 && took < time.Duration(step.wait)*time.Millisecond {
			t.Errorf("%s: returned after %v, want %d ms", step.name, took, step.wait)
		}
	}
}
