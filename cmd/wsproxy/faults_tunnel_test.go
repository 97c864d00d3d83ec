//go:build linux

package main

import (
	"io"
	"net"
	"strings"
	"time"
)

// forwarding has the listener be a forward one.
func forwarding(forward object) func(*stage, object) {
	return func(_ *stage, cfg object) {
		cfg["listeners"] = []object{{"address": "127.0.0.1:0", "mode": "forward"}}
		cfg["forward"] = forward
		delete(cfg, "routes")
		delete(cfg, "upstreams")
	}
}

func tunnelFaults() []fault {
	row := func(how, cause, initiator string, leave func(s *stage)) fault {
		want := closing(cause, initiator).seen("FIN", "FIN")
		want.clean = true
		return fault{how: how, change: forwarding(object{"allow": []string{"127.0.0.0/8"}}), want: want, play: func(s *stage) {
			s.dig()
			leave(s)
		}}
	}
	return []fault{
		row("the client ends an opaque tunnel", "tunnel_end", "client", func(s *stage) { s.raw.(*net.TCPConn).CloseWrite() }),
		row("the target ends an opaque tunnel", "tunnel_end", "upstream", func(s *stage) { s.there.(*net.TCPConn).CloseWrite() }),
		row("the admin API is asked to end an opaque tunnel", "admin", "proxy", func(s *stage) { s.deleteAll() }),
	}
}

// dig makes a tunnel between raw and there.
func (s *stage) dig() {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	defer l.Close()
	const hello = "SSH-2.0-x\r\n"
	s.send("CONNECT " + l.Addr().String() + " HTTP/1.1\r\nHost: x\r\n\r\n" + hello)
	l.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	if s.there, err = l.Accept(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { s.there.Close() })
	s.there.SetDeadline(time.Now().Add(patience))
	granted := make([]byte, len("HTTP/1.1 200 Connection established\r\n"))
	if _, err := io.ReadFull(s.raw, granted); err != nil || !strings.HasPrefix(string(granted), "HTTP/1.1 200") {
		s.t.Fatalf("got %q, %v, want a tunnel", granted, err)
	}
	if _, err := io.ReadFull(s.there, make([]byte, len(hello))); err != nil {
		s.t.Fatal(err)
	}
}
