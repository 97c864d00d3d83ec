//go:build e2e && linux

package deploy_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// programs are what these tests need of the system; e2e/servers/get installs them.
var programs = []string{"busybox", "dpkg", "dpkg-deb", "ldd", "make", "rpm", "systemd-analyze", "systemd-sysusers"}

// needSystem skips a test where the system is not one to install packages on, which is a failure if nothing may be left out.
func needSystem(t *testing.T) {
	t.Helper()
	var missing []string
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			missing = append(missing, p)
		}
	}
	if os.Geteuid() != 0 {
		missing = append(missing, "root")
	}
	switch {
	case len(missing) > 0 && os.Getenv("WSPROXY_TEST_STRICT") == "1":
		t.Fatalf("missing: %q", missing)
	case len(missing) > 0:
		t.Skipf("left out, missing: %q", missing)
	}
}

// packages makes a version's deb and rpm, as a user would.
func packages(t *testing.T, version string) (deb, rpm string) {
	t.Helper()
	dist := t.TempDir()
	run(t, "make", "-C", root, "packages", "RELEASE="+version, "DIST="+dist, "ARCHS="+runtime.GOARCH)
	find := func(pattern string) string {
		found, err := filepath.Glob(dist + "/" + pattern)
		if err != nil || len(found) != 1 {
			t.Fatalf("got %q (%v) for %s", found, err, pattern)
		}
		return found[0]
	}
	return find("*.deb"), find("*.rpm")
}

func TestUnitIsValidAndConfined(t *testing.T) {
	needSystem(t)
	// The program need only be there.
	file := filepath.Join(t.TempDir(), "wsproxy.service")
	write(t, file, []byte(strings.ReplaceAll(readFile(t, unitFile), "/usr/bin/wsproxy", "/bin/true")))
	if out := run(t, "systemd-analyze", "verify", file); out != "" {
		t.Errorf("got %s", out)
	}
	// 0 is a service that can do nothing, 10 one that is not confined at all; the threshold has one digit more.
	out := run(t, "systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", file)
	t.Log(out[max(0, strings.LastIndex(out, "\n→")):])
}

func TestPackages(t *testing.T) {
	needSystem(t)
	deb1, rpm1 := packages(t, "1.0.0")
	deb2, rpm2 := packages(t, "1.1.0")
	t.Run("what they say", func(t *testing.T) { say(t, deb1, rpm1) })
	t.Run("deb", func(t *testing.T) {
		f := folder{t: t, path: newRoot(t)}
		for _, name := range []string{"status", "available"} {
			write(t, f.path+"/var/lib/dpkg/"+name, nil)
		}
		for _, name := range []string{"info", "updates", "triggers"} {
			f.mkdir("/var/lib/dpkg/" + name)
		}
		dpkg := func(arguments ...string) {
			f.run("dpkg", append([]string{"--root=" + f.path, "--force-depends"}, arguments...)...)
		}
		f.lives(func() { dpkg("-i", deb1) }, func() { dpkg("-i", deb2) }, func() { dpkg("-r", "wsproxy") })
		f.holds("/etc/wsproxy/wsproxy.yaml", "# mine") // until it is purged
		dpkg("-P", "wsproxy")
		f.lacks("/etc/wsproxy/wsproxy.yaml")
	})
	t.Run("rpm", func(t *testing.T) {
		f := folder{t: t, path: newRoot(t)}
		rpm := func(arguments ...string) {
			f.run("rpm", append([]string{"--root=" + f.path, "--nodeps"}, arguments...)...)
		}
		f.lives(func() { rpm("-i", rpm1) }, func() { rpm("-U", rpm2) }, func() { rpm("-e", "wsproxy") })
		f.holds("/etc/wsproxy/wsproxy.yaml.rpmsave", "# mine")
	})
}

// lives takes a package through its life: installed, configured, upgraded under a running service, removed.
func (f folder) lives(install, upgrade, remove func()) {
	f.t.Helper()
	install()
	for _, file := range packaged(f.t) {
		f.exists(file)
	}
	f.holds("/etc/passwd", "wsproxy:x:")
	f.is("/calls", "") // nothing to talk to before systemd runs
	if got := run(f.t, f.path+"/usr/bin/wsproxy", "version"); !strings.Contains(got, "wsproxy 1.0.0 ") {
		f.t.Errorf("got version %s", got)
	}
	run(f.t, f.path+"/usr/bin/wsproxy", "check", f.path+"/etc/wsproxy/wsproxy.yaml")

	f.append("/etc/wsproxy/wsproxy.yaml", "# mine\n")
	f.mkdir("/run/systemd/system") // systemd runs from here on, and the service does
	upgrade()
	f.holds("/etc/wsproxy/wsproxy.yaml", "# mine")
	f.is("/calls", "daemon-reload\n--quiet is-active wsproxy.service\nkill --kill-whom=main --signal=SIGUSR2 wsproxy.service\n")
	if got := run(f.t, f.path+"/usr/bin/wsproxy", "version"); !strings.Contains(got, "wsproxy 1.1.0 ") {
		f.t.Errorf("got version %s", got)
	}

	write(f.t, f.path+"/calls", nil)
	remove()
	f.lacks("/usr/bin/wsproxy")
	f.lacks("/usr/lib/systemd/system/wsproxy.service")
	f.is("/calls", "disable --now wsproxy.service\ndaemon-reload\n")
}

// say holds what packages say of themselves, and to whom their files belong.
func say(t *testing.T, deb, rpm string) {
	t.Helper()
	for _, want := range []string{"Package: wsproxy", "Version: 1.0.0", "Architecture: " + runtime.GOARCH, "Depends: systemd | systemd-standalone-sysusers"} {
		if got := run(t, "dpkg-deb", "-I", deb); !strings.Contains(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := run(t, "dpkg-deb", "-I", deb, "conffiles"); got != "/etc/wsproxy/wsproxy.yaml\n" {
		t.Errorf("got conffiles %s", got)
	}
	if got := run(t, "rpm", "-qp", "--configfiles", rpm); got != "/etc/wsproxy/wsproxy.yaml\n" {
		t.Errorf("got configuration files %s", got)
	}
	query := `%{NAME} %{VERSION} %{LICENSE}\n[%{REQUIRENAME} ]\n`
	if got := run(t, "rpm", "-qp", "--qf", query, rpm); !strings.HasPrefix(got, "wsproxy 1.0.0 Apache-2.0\n") || !strings.Contains(got, "systemd ") {
		t.Errorf("got %s", got)
	}
	for _, file := range packaged(t) {
		inDeb := regexp.MustCompile(fmt.Sprintf(`(?m) root/root .* \.%s$`, regexp.QuoteMeta(file)))
		if got := run(t, "dpkg-deb", "-c", deb); !inDeb.MatchString(got) {
			t.Errorf("got %s, want %s of root", got, file)
		}
		inRPM := regexp.MustCompile(fmt.Sprintf(`(?m) root .* root .* %s$`, regexp.QuoteMeta(file)))
		if got := run(t, "rpm", "-qplv", rpm); !inRPM.MatchString(got) {
			t.Errorf("got %s, want %s of root", got, file)
		}
	}
}
