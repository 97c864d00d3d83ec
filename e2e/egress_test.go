//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Credentials of the egress proxies. The password has characters that need care in a URL.
const (
	egressUser     = "wsproxy-e2e"
	egressPassword = "canary-egress p:ss"
)

// startTinyproxy runs an HTTP CONNECT proxy that asks for credentials and lets only the given targets' ports
// through.
func startTinyproxy(t *testing.T, h *house, targets ...string) (address string) {
	t.Helper()
	address = h.ports.address(t)
	_, port, _ := net.SplitHostPort(address)
	var c strings.Builder
	fmt.Fprintf(&c, "Port %s\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 60\nMaxClients 20\nLogLevel Warning\n", port)
	fmt.Fprintf(&c, "BasicAuth %s %s\n", egressUser, tinyPassword)
	for _, target := range targets {
		_, port, _ := net.SplitHostPort(target)
		fmt.Fprintf(&c, "ConnectPort %s\n", port)
	}
	file := filepath.Join(t.TempDir(), "tinyproxy.conf")
	if err := os.WriteFile(file, []byte(c.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, "tinyproxy", nil, h.programs["tinyproxy"], "-d", "-c", file)
	eventually(t, "tinyproxy listens", listens(address))
	return address
}

// tinyPassword has no space, which tinyproxy's configuration can't hold.
const tinyPassword = "canary-egress-tiny"

// dante's users are the system's. Its own view of the two files that know them gets one more, so that the
// system is left as it is.
const danteScript = `set -e
cp /etc/passwd passwd; cp /etc/shadow shadow
echo "$DANTE_USER:x:64999:64999::/nonexistent:/usr/sbin/nologin" >>passwd
echo "$DANTE_USER:$DANTE_HASH:20000:0:99999:7:::" >>shadow
mount --bind passwd /etc/passwd; mount --bind shadow /etc/shadow
exec "$DANTE" -f dante.conf`

// danteHash is egressPassword by crypt(3).
const danteHash = "$6$wsproxye2e$e//rDIigGFc0Mp65XufoLygpgn51o2Th62mQ74FKpnjkfqdwjedW4GkQq3exkFia0T6PKY.TN5vUZ9U42.8bI."

// startDante runs a SOCKS5 proxy that asks for credentials where users can be had, else for none, and
// refuses the denied target.
func startDante(t *testing.T, h *house, denied string) (address string, withUsers bool) {
	t.Helper()
	address = h.ports.address(t)
	_, port, _ := net.SplitHostPort(address)
	_, no, _ := net.SplitHostPort(denied)
	folder := t.TempDir()
	withUsers = canMount(t, h)
	method := "none"
	if withUsers {
		method = "username"
	}
	c := fmt.Sprintf(`logoutput: stderr
internal: 127.0.0.1 port = %s
external: 127.0.0.1
clientmethod: none
socksmethod: %s
user.privileged: root
user.unprivileged: nobody
client pass { from: 127.0.0.0/8 to: 127.0.0.0/8 }
socks block { from: 127.0.0.0/8 to: 127.0.0.0/8 port = %s }
socks pass { from: 127.0.0.0/8 to: 127.0.0.0/8 command: connect }
`, port, method, no)
	if err := os.WriteFile(filepath.Join(folder, "dante.conf"), []byte(c), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "dante.conf")
	if withUsers {
		env := []string{"DANTE=" + h.programs["danted"], "DANTE_USER=" + egressUser, "DANTE_HASH=" + danteHash}
		start(t, "danted", env, "unshare", "--mount", "sh", "-c", "cd "+folder+"\n"+danteScript)
	} else {
		start(t, "danted", nil, h.programs["danted"], "-f", file)
	}
	eventually(t, "danted listens", listens(address))
	return address, withUsers
}

// canMount says whether a mount namespace can be had.
func canMount(t *testing.T, h *house) bool {
	t.Helper()
	if _, err := exec.LookPath("unshare"); err != nil {
		return false
	}
	p := start(t, "unshare", nil, "unshare", "--mount", "mount", "--bind", h.folder, h.folder)
	return p.wait(patience) && p.exitCode() == 0
}

func listens(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return c.Close()
	}
}
