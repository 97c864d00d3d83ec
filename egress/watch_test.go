package egress

import (
	"context"
	"errors"
	"net"
	"net/http/httptrace"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"wsproxy/lifecycle"
)

// A dialler's hooks come from several goroutines, out of order, and after it has returned.
func TestHooksFromEverywhere(t *testing.T) {
	var late sync.WaitGroup
	returned := make(chan struct{})
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		trace := httptrace.ContextClientTrace(ctx)
		trace.DNSStart(httptrace.DNSStartInfo{Host: "chat.test"})
		trace.DNSStart(httptrace.DNSStartInfo{Host: "a name server's name"})
		trace.DNSDone(httptrace.DNSDoneInfo{Addrs: []net.IPAddr{{IP: net.IPv4(192, 0, 2, 2)}}})
		trace.DNSDone(httptrace.DNSDoneInfo{})
		var early sync.WaitGroup
		trace.ConnectStart(network, "[2001:db8::1]:80")
		trace.ConnectStart(network, "192.0.2.2:80")
		trace.ConnectStart(network, "192.0.2.3:80")
		early.Go(func() { trace.ConnectDone(network, "192.0.2.2:80", syscall.ECONNREFUSED) })
		early.Go(func() {
			trace.ConnectDone(network, "192.0.2.3:80", &net.OpError{Op: "dial", Err: context.Canceled})
		})
		early.Go(func() {
			trace.ConnectStart(network, "pipe")
			trace.ConnectDone(network, "pipe", nil)
		})
		early.Wait()
		for range 4 {
			late.Go(func() {
				<-returned
				trace.ConnectDone(network, "[2001:db8::1]:80", context.Canceled)
				trace.ConnectStart(network, "late:80")
				trace.ConnectDone(network, "late:80", syscall.ECONNREFUSED)
				trace.DNSStart(httptrace.DNSStartInfo{})
				trace.DNSDone(httptrace.DNSDoneInfo{Err: syscall.ECONNREFUSED})
			})
		}
		here, there := net.Pipe()
		t.Cleanup(func() { there.Close() })
		return here, nil
	}
	ctx, r := record(t.Context())
	conn, err := (&Dialer{DialContext: dial}).Dial(ctx, Target{Address: "chat.test:80"})
	close(returned)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	want := "dns     target host=chat.test answers=192.0.2.2\n" +
		"connect target try=[2001:db8::1]:80(lost, under way) try=192.0.2.2:80(connection_refused) " +
		"try=192.0.2.3:80(lost) try=pipe(won) peer=pipe"
	if got := r.text(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	late.Wait()
	if got := describe(r.step(t, lifecycle.PhaseDNS)) + "\n" + describe(r.step(t, lifecycle.PhaseConnect)); got != want {
		t.Errorf("after the late hooks, got:\n%s\nwant:\n%s", got, want)
	}
}

// A dialler without hooks has one connect phase.
func TestDialWithoutHooks(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	tests := []struct {
		name string
		conn net.Conn
		err  error
		want string
	}{
		{"connected", here, nil, "connect target peer=pipe"},
		{"failed", nil, syscall.ECONNREFUSED, "connect target FAILED connection_refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, r := record(t.Context())
			d := &Dialer{DialContext: func(context.Context, string, string) (net.Conn, error) { return tt.conn, tt.err }}
			conn, err := d.Dial(ctx, Target{Address: "chat.test:80"})
			if !errors.Is(err, tt.err) {
				t.Errorf("got error %v, want %v", err, tt.err)
			}
			if conn != nil {
				conn.Close()
			}
			if got := r.text(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// A lookup whose end the dialler does not tell of ends with the dial.
func TestHookThatNeverComes(t *testing.T) {
	ctx, r := record(t.Context())
	d := &Dialer{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		httptrace.ContextClientTrace(ctx).DNSStart(httptrace.DNSStartInfo{Host: "chat.test"})
		return nil, &net.DNSError{Err: "no such host", Name: "chat.test", IsNotFound: true}
	}}
	d.Dial(ctx, Target{Address: "chat.test:80"})
	if got, want := r.text(), "dns     target host=chat.test FAILED dns_not_found"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A dial whose lookup phase failed is given up, though the lookup itself went well.
func TestFaultGivesTheDialUp(t *testing.T) {
	registry := &lifecycle.Registry{Fault: func(_ context.Context, s *lifecycle.Step, err error) error {
		if s.Phase == lifecycle.PhaseDNS {
			return errors.New("put in")
		}
		return err
	}}
	d := &Dialer{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		trace := httptrace.ContextClientTrace(ctx)
		trace.DNSStart(httptrace.DNSStartInfo{Host: "chat.test"})
		trace.DNSDone(httptrace.DNSDoneInfo{})
		if ctx.Err() == nil {
			t.Error("got a dial that goes on, want it canceled")
		}
		return nil, ctx.Err()
	}}
	_, err := d.Dial(onRegistry(t.Context(), registry), Target{Address: "chat.test:80"})
	if got := failureIn(t, err); got.Phase != lifecycle.PhaseDNS || got.Reason != lifecycle.ReasonDNSTemporary {
		t.Errorf("got %s in %s, want dns_temporary in dns", got.Reason, got.Phase)
	}
}

func TestTellingError(t *testing.T) {
	gone, leave := context.WithCancel(t.Context())
	leave()
	late, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	stopped, stop := context.WithCancelCause(t.Context())
	stop(lifecycle.Failf(lifecycle.ReasonCanceled, "shutdown"))
	tests := []struct {
		name string
		ctx  context.Context
		errs []error
		want lifecycle.Reason
	}{
		{"one", t.Context(), []error{syscall.ECONNREFUSED}, lifecycle.ReasonConnectionRefused},
		{"no IPv6, refused", t.Context(), []error{syscall.ENETUNREACH, syscall.ECONNREFUSED}, lifecycle.ReasonConnectionRefused},
		{"no IPv6, no answer", t.Context(), []error{syscall.ENETUNREACH, os.ErrDeadlineExceeded}, lifecycle.ReasonConnectTimeout},
		{"no answer, no route", t.Context(), []error{os.ErrDeadlineExceeded, syscall.EHOSTUNREACH}, lifecycle.ReasonHostUnreachable},
		{"no answer, refused", t.Context(), []error{os.ErrDeadlineExceeded, syscall.ECONNREFUSED}, lifecycle.ReasonConnectionRefused},
		{"out of time, refused", late, []error{syscall.ECONNREFUSED, os.ErrDeadlineExceeded}, lifecycle.ReasonConnectionRefused},
		{"out of time", late, []error{os.ErrDeadlineExceeded}, lifecycle.ReasonConnectTimeout},
		{"only lost ones", t.Context(), []error{nil, nil}, lifecycle.ReasonInternal},
		{"none", t.Context(), nil, lifecycle.ReasonInternal},
		{"client left", gone, []error{syscall.ECONNREFUSED}, lifecycle.ReasonClientGone},
		{"we stopped", stopped, []error{syscall.ECONNREFUSED}, lifecycle.ReasonCanceled},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var tries []lifecycle.Try
			for _, err := range tt.errs {
				tries = append(tries, lifecycle.Try{Err: err})
			}
			var unrecorded *lifecycle.Connection
			ctx, step := unrecorded.Begin(tt.ctx, &lifecycle.Step{Phase: lifecycle.PhaseConnect})
			step.End(ctx, telling(ctx, errors.New("the dialler's own"), tries))
			if got := step.Reason(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestWinner(t *testing.T) {
	now := time.Now()
	won := func(address string) lifecycle.Try { return lifecycle.Try{Address: address, Ended: now} }
	failed := lifecycle.Try{Address: "b", Ended: now, Err: syscall.ECONNREFUSED}
	tests := []struct {
		name  string
		tries []lifecycle.Try
		want  int
	}{
		{"none", nil, -1},
		{"by address", []lifecycle.Try{won("a"), won("b"), won("c")}, 1},
		{"an unspecified address", []lifecycle.Try{won("0.0.0.0:80")}, 0},
		{"not a failed one", []lifecycle.Try{failed, won("a")}, 1},
		{"not one under way", []lifecycle.Try{{Address: "b"}, won("a")}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			markWinner(tt.tries, "b")
			got := -1
			for i, try := range tt.tries {
				if try.Won {
					got = i
				}
			}
			if got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}
