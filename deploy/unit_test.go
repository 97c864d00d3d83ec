package deploy_test

import (
	"encoding/json"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	systemd "github.com/coreos/go-systemd/v22/unit"
	"sigs.k8s.io/yaml"
)

const (
	unitFile     = "systemd/wsproxy.service"
	packagesFile = "packages/nfpm.yaml"
)

type options []*systemd.UnitOption

// unit is systemd's unit, line by line.
func unit(t *testing.T) options {
	t.Helper()
	f, err := os.Open(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, err := systemd.DeserializeOptions(f)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// one is the value of an option that is there once.
func (lines options) one(t *testing.T, section, name string) string {
	t.Helper()
	var values []string
	for _, o := range lines {
		if o.Section == section && o.Name == name {
			values = append(values, o.Value)
		}
	}
	if len(values) != 1 {
		t.Fatalf("got %q for %s, want one value", values, name)
	}
	return values[0]
}

// flag is the value behind a flag of the command line.
func flag(t *testing.T, command, name string) string {
	t.Helper()
	words := strings.Fields(command)
	i := slices.Index(words, name)
	if i < 0 || i+1 == len(words) {
		t.Fatalf("got %s, want %s", command, name)
	}
	return words[i+1]
}

func TestUnitNamesItsFiles(t *testing.T) {
	u := unit(t)
	command := u.one(t, "Service", "ExecStart")
	pid := flag(t, command, "--pid-file")
	if got := u.one(t, "Service", "PIDFile"); got != pid || path.Dir(got) != "/run/"+u.one(t, "Service", "RuntimeDirectory") {
		t.Errorf("got PIDFile=%s, the program writes %s", got, pid)
	}
	installed := packaged(t)
	for name, file := range map[string]string{"program": strings.Fields(command)[0], "configuration": flag(t, command, "--config")} {
		if !slices.Contains(installed, file) {
			t.Errorf("got %s %s, packages have %q", name, file, installed)
		}
	}
	if users := readFile(t, "systemd/wsproxy.sysusers"); !strings.HasPrefix(users, "u "+u.one(t, "Service", "User")+" ") {
		t.Errorf("got User=%s, made is %s", u.one(t, "Service", "User"), users)
	}
}

// packaged lists where packages put their files.
func packaged(t *testing.T) []string {
	t.Helper()
	var p struct {
		Contents []struct{ Src, Dst string }
	}
	if err := yaml.Unmarshal([]byte(readFile(t, packagesFile)), &p); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, c := range p.Contents {
		all = append(all, c.Dst)
		if strings.Contains(c.Src, "$") {
			continue // it is built
		}
		if _, err := os.Stat(path.Join(root, c.Src)); err != nil {
			t.Error(err)
		}
	}
	return all
}

func TestUnitHasTheTimeToDrain(t *testing.T) {
	var schema struct {
		Properties struct {
			Drain struct {
				Properties struct{ Timeout struct{ Default string } }
			}
		}
	}
	if err := json.Unmarshal([]byte(readFile(t, root+"/docs/wsproxy.schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	needed, err := time.ParseDuration(schema.Properties.Drain.Properties.Timeout.Default)
	if err != nil {
		t.Fatal(err)
	}
	got, err := time.ParseDuration(unit(t).one(t, "Service", "TimeoutStopSec") + "s")
	if err != nil || got < needed+10*time.Second {
		t.Errorf("got TimeoutStopSec of %s (%v), want more than drain.timeout, %s, and time to flush", got, err, needed)
	}
}

// What an upgrade by SIGUSR2 needs: the new process speaks for the service, and stopping leaves alone the one that still drains.
func TestUnitSurvivesUpgrades(t *testing.T) {
	for name, want := range map[string]string{"Type": "notify", "NotifyAccess": "all", "KillMode": "mixed"} {
		if got := unit(t).one(t, "Service", name); got != want {
			t.Errorf("got %s=%s, want %s", name, got, want)
		}
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
