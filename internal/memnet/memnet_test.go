package memnet

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/net/nettest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConnKeepsTheContractOfNetConn(t *testing.T) {
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		a, b := Pipe()
		return a, b, func() { a.Close(); b.Close() }, nil
	})
}

// tcp is what scenarios use of *Conn and *net.TCPConn.
type tcp interface {
	net.Conn
	CloseWrite() error
	SetLinger(int) error
}

// scenarios are orders of events in which TCP's errors are easily got wrong. Each is played with memnet
// and with the kernel.
var scenarios = map[string]func(tell *script, a, b tcp){
	"data, then close": func(tell *script, a, b tcp) {
		tell.write(b, "data")
		tell.close(b)
		tell.readAll(a)
		tell.readAll(a)
		tell.writeUntilError(a)
		tell.readAll(a)
		tell.closeWrite(a)
		tell.close(a)
	},
	"data, then reset": func(tell *script, a, b tcp) {
		tell.write(b, "data")
		tell.reset(b)
		tell.readAll(a)
		tell.readAll(a)
		tell.write(a, "x")
		tell.closeWrite(a)
	},
	"close with unread data": func(tell *script, a, b tcp) {
		tell.write(a, "never read")
		tell.write(a, "never read")
		tell.read(b, 1)
		tell.close(b)
		tell.readAll(a)
		tell.write(a, "x")
	},
	"half-close, answer, close": func(tell *script, a, b tcp) {
		tell.write(a, "question")
		tell.closeWrite(a)
		tell.closeWrite(a)
		tell.readAll(b)
		tell.write(b, "answer")
		tell.closeWrite(b)
		tell.readAll(a)
		tell.write(a, "x")
		tell.closeWrite(a)
		tell.close(a)
		tell.close(b)
	},
	"half-close, then reset": func(tell *script, a, b tcp) {
		tell.closeWrite(b)
		tell.readAll(a)
		tell.reset(b)
		tell.writeUntilError(a)
		tell.readAll(a)
	},
	"reset towards the end that half-closed": func(tell *script, a, b tcp) {
		tell.closeWrite(a)
		tell.readAll(b)
		tell.reset(b)
		tell.readAll(a)
		tell.write(a, "x")
	},
	"use after close": func(tell *script, a, b tcp) {
		tell.close(a)
		tell.close(a)
		tell.readAll(a)
		tell.write(a, "x")
		tell.closeWrite(a)
		tell.note("linger", a.SetLinger(0))
		tell.close(b)
	},
	"nothing to read or write": func(tell *script, a, b tcp) {
		tell.read(a, 0)
		tell.write(a, "")
		tell.close(b)
		tell.write(a, "")
		tell.write(a, "")
		tell.read(a, 1)
	},
}

// script writes down what each call of a scenario gave.
type script struct{ lines []string }

func (s *script) note(what string, err error) {
	if e, ok := err.(*net.OpError); ok { // without the addresses
		err = fmt.Errorf("%s %s: %w", e.Op, e.Net, e.Err)
	}
	s.lines = append(s.lines, fmt.Sprintf("%s: %v", what, err))
}

func (s *script) write(c tcp, text string) {
	n, err := c.Write([]byte(text))
	s.note(fmt.Sprintf("write %q %d", text, n), err)
}

// writeUntilError bridges the time that the kernel's reset takes.
func (s *script) writeUntilError(c tcp) {
	for {
		if _, err := c.Write([]byte("x")); err != nil {
			s.note("write", err)
			return
		}
	}
}

func (s *script) read(c tcp, size int) {
	n, err := c.Read(make([]byte, size))
	s.note(fmt.Sprintf("read %d", n), err)
}

func (s *script) readAll(c tcp) {
	data, err := io.ReadAll(c)
	s.note(fmt.Sprintf("read %q", data), err)
}

func (s *script) close(c tcp)      { s.note("close", c.Close()) }
func (s *script) closeWrite(c tcp) { s.note("close write", c.CloseWrite()) }

func (s *script) reset(c tcp) {
	s.note("linger", c.SetLinger(0))
	s.close(c)
}

func TestErrorsAreThoseOfLinux(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("compares with Linux's TCP")
	}
	for name, play := range scenarios {
		t.Run(name, func(t *testing.T) {
			var got, want script
			a, b := Pipe()
			play(&got, a, b)
			k, l := kernelPair(t)
			play(&want, k, l)
			for i := range max(len(got.lines), len(want.lines)) {
				if got.lines[i] != want.lines[i] {
					t.Errorf("call %d: got %s, want %s", i+1, got.lines[i], want.lines[i])
				}
			}
		})
	}
}

func kernelPair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialled.Close(); accepted.Close() })
	return dialled.(*net.TCPConn), accepted.(*net.TCPConn)
}
