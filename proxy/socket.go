package proxy

import (
	"errors"
	"net"
	"sync"
	"time"
)

// socket is a bound address. Its clients go to one listener after the other, as a reload changes how they are
// treated; the socket stays.
type socket struct {
	net.Listener
	server *Server

	mu sync.Mutex
	to *listener

	left    chan struct{} // closed by leave
	awaited bool          // the server waits for the clients; guarded by its mutex
	leaving sync.Once
}

// serve accepts until the socket is left.
func (s *socket) serve() error {
	defer s.notAwaited()
	if !s.server.enter() {
		return nil
	}
	defer s.server.serving.Done()
	err := s.accept()
	s.server.retire(s.turn(nil))
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// notAwaited says that whoever is waited for is a listener's by now.
func (s *socket) notAwaited() {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	if s.awaited {
		s.awaited = false
		s.server.retiring.Done()
	}
}

func (s *socket) accept() error {
	var pause time.Duration
	for {
		c, err := s.Accept()
		if err != nil {
			if pause = s.backOff(err, pause); pause > 0 {
				continue
			}
			return err
		}
		pause = 0
		s.current().take(c)
	}
}

// current is the listener for a client just accepted. Its busy counts the client before a turn can make it the
// former one.
func (s *socket) current() *listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to.busy.Add(1)
	return s.to
}

// turn has further clients go to l, and returns where they went before.
func (s *socket) turn(l *listener) (former *listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	former, s.to = s.to, l
	return former
}

// leave ends accept.
func (s *socket) leave() (err error) {
	s.leaving.Do(func() {
		close(s.left)
		err = s.Close()
	})
	return err
}

// backOff waits after an error that may pass, such as too few descriptors, and says how long it did; 0
// means that the socket is done.
func (s *socket) backOff(err error, last time.Duration) time.Duration {
	ne, ok := errors.AsType[net.Error](err)
	if !ok || !(ne.Timeout() || isExhausted(err)) {
		return 0
	}
	pause := min(max(2*last, 5*time.Millisecond), time.Second)
	s.server.log().Warn("cannot accept", "address", s.Addr().String(), "error", err, "retry_in", pause)
	select {
	case <-time.After(pause):
		return pause
	case <-s.left:
		return 0
	}
}
