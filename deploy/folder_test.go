//go:build e2e && linux

package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// folder is a root of its own, in which packages are installed.
type folder struct {
	t    *testing.T
	path string
}

// newRoot has what maintainers' scripts call: a shell, the real systemd-sysusers, and a systemctl that only writes down what it
// is asked, as no systemd runs there.
func newRoot(t *testing.T) string {
	t.Helper()
	r := t.TempDir()
	f := folder{t: t, path: r}
	for _, name := range []string{"/dev", "/tmp", "/etc", "/run", "/var/lib", "/var/log"} {
		f.mkdir(name)
	}
	write(t, r+"/etc/passwd", []byte("root:x:0:0:root:/:/bin/sh\n"))
	write(t, r+"/etc/group", []byte("root:x:0:\n"))
	write(t, r+"/dev/null", nil)
	write(t, r+"/calls", nil)
	f.add("busybox")
	f.add("systemd-sysusers")
	for _, name := range []string{"sh", "echo", "rm"} {
		if err := os.Symlink("busybox", r+"/usr/bin/"+name); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"bin", "sbin"} {
		if err := os.Symlink("usr/bin", r+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
	write(t, r+"/usr/bin/systemctl", []byte("#!/bin/sh\necho \"$@\" >>/calls\n"))
	f.executable("/usr/bin/systemctl")
	return r
}

var library = regexp.MustCompile(`/\S+\.so\S*`)

// add copies a program of this system and its libraries.
func (f folder) add(program string) {
	f.t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		f.t.Fatal(err)
	}
	files := map[string]string{path: "/usr/bin/" + program}
	out, _ := exec.CommandContext(f.t.Context(), "ldd", path).CombinedOutput() // it fails where there are none
	for _, l := range library.FindAllString(string(out), -1) {
		files[l] = l
	}
	for from, to := range files {
		text, err := os.ReadFile(from)
		if err != nil {
			f.t.Fatal(err)
		}
		write(f.t, f.path+to, text)
		f.executable(to)
	}
}

func (f folder) executable(name string) {
	f.t.Helper()
	if err := os.Chmod(f.path+name, 0o755); err != nil {
		f.t.Fatal(err)
	}
}

func (f folder) mkdir(name string) {
	f.t.Helper()
	if err := os.MkdirAll(f.path+name, 0o755); err != nil {
		f.t.Fatal(err)
	}
}

func (f folder) append(name, text string) {
	f.t.Helper()
	write(f.t, f.path+name, []byte(readFile(f.t, f.path+name)+text))
}

// run runs what installs and removes; its scripts get only programs of the folder.
func (f folder) run(program string, arguments ...string) {
	f.t.Helper()
	cmd := exec.CommandContext(f.t.Context(), program, arguments...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	if out, err := cmd.CombinedOutput(); err != nil {
		f.t.Fatalf("%s %q: %v: %s", program, arguments, err, out)
	}
}

func (f folder) exists(name string) {
	f.t.Helper()
	info, err := os.Stat(f.path + name)
	if err != nil {
		f.t.Error(err)
		return
	}
	want := "-rw-r--r--"
	if filepath.Dir(name) == "/usr/bin" {
		want = "-rwxr-xr-x"
	}
	if got := info.Mode().String(); got != want {
		f.t.Errorf("%s: got %s, want %s", name, got, want)
	}
}

func (f folder) lacks(name string) {
	f.t.Helper()
	if _, err := os.Lstat(f.path + name); err == nil {
		f.t.Errorf("%s is still there", name)
	}
}

func (f folder) holds(name, want string) {
	f.t.Helper()
	if got := readFile(f.t, f.path+name); !strings.Contains(got, want) {
		f.t.Errorf("%s: got %s, want %q in it", name, got, want)
	}
}

func (f folder) is(name, want string) {
	f.t.Helper()
	if got := readFile(f.t, f.path+name); got != want {
		f.t.Errorf("%s: got %q, want %q", name, got, want)
	}
}
