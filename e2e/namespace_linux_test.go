//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// namespace is a network of a test's own. It has no name that could be left behind: it is gone once its file
// is closed and what runs in it has ended, and this process's end closes the file. Nil is the network that
// the tests run in.
type namespace struct {
	file *os.File
	ip   string // the program
}

// newNamespace returns nil where namespaces can't be had; when strict, the test fails.
func (h *house) newNamespace(t *testing.T) *namespace {
	t.Helper()
	if h.missing(t, "ip") {
		return nil
	}
	n := &namespace{ip: h.programs["ip"]}
	err := onOwnThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			n.file, err = os.Open("/proc/thread-self/ns/net")
		}
		return err
	})
	if err != nil {
		withoutPrivilege(t, "no network namespace: "+err.Error())
		return nil
	}
	t.Cleanup(func() { n.file.Close() })
	n.set(t, "link", "set", "lo", "up")
	return n
}

// withoutPrivilege leaves a test out that the system does not allow; when strict, the test fails.
func withoutPrivilege(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("WSPROXY_TEST_STRICT") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// onOwnThread calls f on a thread that may change its network. The thread goes back to where it was: if it
// ended, so would every process that it has started.
func onOwnThread(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	defer func() {
		if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
			panic(err) // whatever runs on this thread would be in the wrong network
		}
	}()
	return f()
}

// do calls f inside. Sockets stay where they were made, and processes where they were started.
func (n *namespace) do(f func() error) error {
	if n == nil {
		return f()
	}
	return onOwnThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

func (n *namespace) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = n.do(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

func (n *namespace) listen(t *testing.T, address string) (l net.Listener) {
	t.Helper()
	err := n.do(func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// web talks to what serves HTTP inside.
func (n *namespace) web() *http.Client {
	if n == nil {
		return web
	}
	return &http.Client{Timeout: web.Timeout, Transport: &http.Transport{DisableKeepAlives: true, DialContext: n.dial}}
}

// set changes the network with ip(8).
func (n *namespace) set(t *testing.T, args ...string) {
	t.Helper()
	err := n.do(func() error {
		out, err := exec.CommandContext(t.Context(), n.ip, args...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// door is an address inside behind which one outside is.
func (n *namespace) door(t *testing.T, outside string) (inside string) {
	t.Helper()
	l := n.listen(t, "127.0.0.1:0")
	serveOn(t, l, func(c net.Conn) {
		to, err := net.Dial("tcp", outside)
		if err != nil {
			return
		}
		defer to.Close()
		join(c, c, to)
	})
	return l.Addr().String()
}

// sysctl sets one of the parameters under net.
func (n *namespace) sysctl(t *testing.T, name, value string) {
	t.Helper()
	path := "/proc/sys/net/" + strings.ReplaceAll(name, ".", "/")
	if err := n.do(func() error { return os.WriteFile(path, []byte(value), 0) }); err != nil {
		t.Fatal(err)
	}
}

// resolvingAt is a command that runs another with a name server of its own.
func resolvingAt(t *testing.T, server string, command []string) []string {
	t.Helper()
	file := t.TempDir() + "/resolv.conf"
	if err := os.WriteFile(file, []byte("nameserver "+server+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return append([]string{"unshare", "--mount", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`, file}, command...)
}
