//go:build linux

package server

import (
	"encoding/binary"
	"time"

	"wsproxy/bench/wire"
)

// Stamp is where, in a pushed message's payload, its time stands: nanoseconds of Unix time, big endian,
// when it was written.
const Stamp = 0

// wait has a client wait for what is pushed.
func (s *Server) wait(c *conn) error {
	s.mu.Lock()
	if s.waiting == nil {
		s.waiting = make(map[*conn]struct{})
	}
	s.waiting[c] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.waiting, c)
		s.mu.Unlock()
	}()
	return c.discard()
}

// pusher pushes to all that wait, whenever its client says so, as fast as one thread can write.
func (s *Server) pusher(c *conn, size int) error {
	payload := make([]byte, max(size, Stamp+8))
	frame := wire.Frame(wire.Binary, payload, false)
	at := len(frame) - len(payload) + Stamp
	return c.messages(size, func(n int) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		for range n {
			for to := range s.waiting {
				binary.BigEndian.PutUint64(frame[at:], uint64(time.Now().UnixNano()))
				to.Write(frame) // who is gone has its own end to see it
			}
			if _, err := c.Write(frame); err != nil {
				return err
			}
		}
		return nil
	})
}
