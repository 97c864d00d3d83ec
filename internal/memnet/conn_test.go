package memnet

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestDeadlinesWakeBlockedCalls(t *testing.T) {
	full := make([]byte, DefaultBuffer)
	cases := map[string]struct {
		set  func(*Conn, time.Time) error
		call func(*Conn) (int, error)
		n    int
	}{
		"read":  {(*Conn).SetReadDeadline, func(c *Conn) (int, error) { return c.Read(make([]byte, 1)) }, 0},
		"write": {(*Conn).SetWriteDeadline, func(c *Conn) (int, error) { return c.Write(append(full, 1, 2)) }, len(full)},
		"both":  {(*Conn).SetDeadline, func(c *Conn) (int, error) { return c.Read(make([]byte, 1)) }, 0},
	}
	for name, tc := range cases {
		for when, after := range map[string]time.Duration{"ahead": time.Hour, "in the past": -time.Second} {
			t.Run(name+" "+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c, _ := Pipe()
					begun := time.Now()
					go func() {
						time.Sleep(time.Minute) // the call is waiting
						tc.set(c, time.Now().Add(after))
					}()
					n, err := tc.call(c)
					if n != tc.n || !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("got %d, %v, want %d, a timeout", n, err, tc.n)
					}
					if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Timeout() {
						t.Errorf("%#v is no net.Error with Timeout", err)
					}
					if got, want := time.Since(begun), time.Minute+max(after, 0); got != want {
						t.Errorf("woke after %s, want %s", got, want)
					}
				})
			})
		}
	}
}

func TestDeadlineCanBeMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe()
		a.SetReadDeadline(time.Now().Add(time.Second))
		a.SetReadDeadline(time.Time{})
		time.AfterFunc(time.Hour, func() { b.Write([]byte("x")) })
		if n, err := a.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("got %d, %v, want 1 byte", n, err)
		}
		a.SetReadDeadline(time.Now())
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v, want a timeout", err)
		}
		a.SetReadDeadline(time.Now().Add(time.Minute))
		b.Write([]byte("y"))
		if n, err := a.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("got %d, %v, want 1 byte after the deadline was moved", n, err)
		}
	})
}

func TestWriterWaitsForSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe()
		sent := bytes.Repeat([]byte("0123456789"), 3*DefaultBuffer/10)
		var wrote time.Duration
		begun := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() {
			n, err := a.Write(sent)
			wrote = time.Since(begun)
			if n != len(sent) || err != nil {
				t.Errorf("got %d, %v, want %d", n, err, len(sent))
			}
			a.Close()
		})
		synctest.Wait()
		if got := b.in.unread(); got != DefaultBuffer {
			t.Errorf("%d bytes under way, want %d", got, DefaultBuffer)
		}
		time.Sleep(time.Hour)
		got, err := io.ReadAll(b)
		wg.Wait()
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("got %d bytes, %v, want the %d sent", len(got), err, len(sent))
		}
		if wrote != time.Hour {
			t.Errorf("write took %s, want an hour", wrote)
		}
		if cap(b.in.data) > 2*DefaultBuffer {
			t.Errorf("the buffer grew to %d", cap(b.in.data))
		}
	})
}

func TestWritesDoNotMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe()
		const size = 2*DefaultBuffer + 1
		var wg sync.WaitGroup
		for _, letter := range []string{"a", "b", "c"} {
			wg.Go(func() { a.Write(bytes.Repeat([]byte(letter), size)) })
		}
		go func() {
			wg.Wait()
			a.Close()
		}()
		all, err := io.ReadAll(b)
		if err != nil || len(all) != 3*size {
			t.Fatalf("got %d bytes, %v, want %d", len(all), err, 3*size)
		}
		for part := range 3 {
			run := all[part*size : (part+1)*size]
			if bytes.Count(run, run[:1]) != size {
				t.Errorf("write %d is mixed with another", part+1)
			}
		}
	})
}

func TestCloseWakesEverybody(t *testing.T) {
	cases := map[string]struct {
		end             func(a, b *Conn)
		reads, writes   error // of a
		otherMayStillGo bool
	}{
		"own close":      {func(a, b *Conn) { a.Close() }, net.ErrClosed, net.ErrClosed, false},
		"peer's reset":   {func(a, b *Conn) { b.Reset() }, syscall.ECONNRESET, syscall.EPIPE, false},
		"TCP gave up":    {func(a, b *Conn) { a.Fail(syscall.ETIMEDOUT) }, syscall.ETIMEDOUT, syscall.EPIPE, true},
		"gave up, close": {func(a, b *Conn) { a.Fail(syscall.ETIMEDOUT); a.Close() }, net.ErrClosed, net.ErrClosed, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := Pipe()
				a.Write(make([]byte, DefaultBuffer))
				var wg sync.WaitGroup
				var readErr, writeErr error
				wg.Go(func() { _, readErr = a.Read(make([]byte, 1)) })
				synctest.Wait() // so that it is the reader who learns why
				wg.Go(func() { _, writeErr = a.Write([]byte("x")) })
				synctest.Wait()
				tc.end(a, b)
				wg.Wait()
				both := errors.Is(readErr, tc.reads) && errors.Is(writeErr, tc.writes)
				swapped := readErr == io.EOF && errors.Is(writeErr, tc.reads) // the reset is told once, to either
				if !both && !swapped {
					t.Errorf("got %v and %v, want %v and %v", readErr, writeErr, tc.reads, tc.writes)
				}
				if _, ok := errors.AsType[*net.OpError](writeErr); !ok {
					t.Errorf("%#v is no *net.OpError", writeErr)
				}
				for range 2 {
					if _, err := b.Write([]byte("x")); tc.otherMayStillGo && err != nil {
						t.Errorf("the other end heard of it: %v", err)
					}
				}
			})
		})
	}
}

func TestHalfClosedConnCarriesTheOtherDirection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe()
		a.Write([]byte("question"))
		a.CloseWrite()
		if got, err := io.ReadAll(b); string(got) != "question" || err != nil {
			t.Errorf("got %q, %v, want the question and EOF", got, err)
		}
		time.AfterFunc(time.Hour, func() {
			b.Write([]byte("answer"))
			b.Close()
		})
		if got, err := io.ReadAll(a); string(got) != "answer" || err != nil {
			t.Errorf("got %q, %v, want the answer and EOF", got, err)
		}
	})
}

func BenchmarkConn(b *testing.B) {
	client, server := Pipe()
	go io.Copy(io.Discard, server)
	chunk := make([]byte, 16<<10)
	b.SetBytes(int64(len(chunk)))
	b.ReportAllocs()
	for b.Loop() {
		client.Write(chunk)
	}
	client.Close()
}
