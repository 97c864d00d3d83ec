package egress

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"wsproxy/lifecycle"
)

// beginHook calls do when the phase begins.
type beginHook struct {
	phase lifecycle.Phase
	do    func()
}

func (h beginHook) Watch(*lifecycle.Connection) lifecycle.Watcher { return h }

func (h beginHook) Begin(ctx context.Context, s *lifecycle.Step) context.Context {
	if s.Phase == h.phase {
		h.do()
	}
	return ctx
}

func (h beginHook) End(context.Context, *lifecycle.Step) {}
func (h beginHook) Done(lifecycle.Outcome)               {}

func failureIn(t *testing.T, err error) *lifecycle.Failure {
	t.Helper()
	f, ok := errors.AsType[*lifecycle.Failure](err)
	if !ok {
		t.Fatalf("got error %v, want a failure in it", err)
	}
	return f
}

// onLoopback is address with its host replaced.
func onLoopback(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return net.JoinHostPort("127.0.0.1", port)
}

// socketPath is short enough for a Unix socket, which a test's own folder may not be.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "egress")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}
