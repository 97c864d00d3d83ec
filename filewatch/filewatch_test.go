package filewatch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFollowWaitsForQuiet(t *testing.T) {
	const settle, poll = 250 * time.Millisecond, time.Minute
	for _, tc := range []struct {
		name    string
		changes []time.Duration // when something changes
		errs    []time.Duration // when the watcher reports an error
		until   time.Duration
		want    []time.Duration // when the files are looked at
	}{
		{"at once and by the clock", nil, nil, 2*poll + time.Second, []time.Duration{0, poll, 2 * poll}},
		{"one change", []time.Duration{time.Second}, nil, 5 * time.Second, []time.Duration{0, 1250 * time.Millisecond}},
		{
			"several are one",
			[]time.Duration{time.Second, 1100 * time.Millisecond, 1300 * time.Millisecond}, nil,
			5 * time.Second,
			[]time.Duration{0, 1550 * time.Millisecond},
		},
		{
			"far apart are two",
			[]time.Duration{time.Second, 2 * time.Second}, nil,
			5 * time.Second,
			[]time.Duration{0, 1250 * time.Millisecond, 2250 * time.Millisecond},
		},
		{
			"never quiet",
			every(100*time.Millisecond, time.Second, 5*time.Second), nil,
			5 * time.Second,
			[]time.Duration{0, 3500 * time.Millisecond},
		},
		{"an error hides changes", nil, []time.Duration{time.Second}, 5 * time.Second, []time.Duration{0, 1250 * time.Millisecond}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), tc.until)
				defer cancel()
				begin := time.Now()
				at := func(when time.Duration, do func()) { time.AfterFunc(when-time.Since(begin), do) }
				changes, errs := make(chan fsnotify.Event), make(chan error)
				for _, when := range tc.changes {
					at(when, func() { changes <- fsnotify.Event{} })
				}
				for _, when := range tc.errs {
					at(when, func() { errs <- fsnotify.ErrEventOverflow })
				}
				var got []time.Duration
				follow(ctx, changes, errs, settle, poll, func() { got = append(got, time.Since(begin)) })
				if !slices.Equal(got, tc.want) {
					t.Errorf("got looks at %v, want %v", got, tc.want)
				}
			})
		})
	}
}

func every(step, from, to time.Duration) (times []time.Duration) {
	for at := from; at < to; at += step {
		times = append(times, at)
	}
	return times
}

func TestTroubleIsToldOnce(t *testing.T) {
	var told []string
	w := Watcher{Trouble: func(err error) { told = append(told, err.Error()) }}
	for _, err := range []error{errors.New("x"), errors.New("x"), errors.New("y"), nil, errors.New("y")} {
		w.trouble(err)
	}
	if want := []string{"x", "y", "y"}; !slices.Equal(told, want) {
		t.Errorf("got %v, want %v", told, want)
	}
	var silent Watcher
	silent.trouble(errors.New("x"))
}

func TestFoldersOf(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	in := func(parts ...string) string { return filepath.Join(append([]string{top}, parts...)...) }
	mkdir(t, top, "secret", "..v1")
	mkdir(t, top, "archive")
	writeFile(t, in("secret", "..v1", "tls.crt"), nil)
	writeFile(t, in("archive", "cert1.pem"), nil)
	symlink(t, "..v1", in("secret", "..data"))
	symlink(t, filepath.Join("..data", "tls.crt"), in("secret", "tls.crt"))
	symlink(t, in("secret"), in("current"))
	symlink(t, filepath.Join("..", "archive", "cert1.pem"), in("secret", "live.pem"))
	symlink(t, "loop", in("loop"))
	symlink(t, "/", in("root"))
	symlink(t, "gone", in("dangling"))

	for _, tc := range []struct {
		name, file string
		want       []string
	}{
		{"plain", in("archive", "cert1.pem"), []string{in("archive")}},
		{"file not there", in("archive", "cert2.pem"), []string{in("archive")}},
		{"folder not there", in("none", "deep", "cert.pem"), []string{top}},
		{"Kubernetes", in("secret", "tls.crt"), []string{in("secret"), in("secret"), in("secret", "..v1")}},
		{"link above", in("current", "tls.crt"), []string{top, in("secret"), in("secret"), in("secret", "..v1")}},
		{"relative link upwards", in("secret", "live.pem"), []string{in("secret"), in("archive")}},
		{"dangling link", in("dangling"), []string{top, top}},
		{"loop", in("loop"), slices.Repeat([]string{top}, maxLinks+1)},
		{"link to the root", in("root"), []string{top, "/"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := foldersOf(tc.file); !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestWatchFoldersFollowsTheFiles(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	one, two := mkdir(t, top, "one"), mkdir(t, top, "two")
	expect := func(want ...string) {
		t.Helper()
		got := w.WatchList()
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("got watched %v, want %v", got, want)
		}
	}
	for _, tc := range []struct{ files, want []string }{
		{[]string{filepath.Join(one, "a"), filepath.Join(one, "b"), filepath.Join(two, "a")}, []string{one, two}},
		{[]string{filepath.Join(two, "a")}, []string{two}},
		{nil, nil},
	} {
		if err := watchFolders(w, tc.files); err != nil {
			t.Fatal(err)
		}
		expect(tc.want...)
	}
	if err := os.Remove(one); err != nil {
		t.Fatal(err)
	}
	if err := watchFolders(w, []string{filepath.Join(one, "a")}); err != nil {
		t.Fatal(err)
	}
	expect(top)
}

func mkdir(t *testing.T, parts ...string) string {
	t.Helper()
	folder := filepath.Join(parts...)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	return folder
}

func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func symlink(t *testing.T, target, link string) {
	t.Helper()
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
}
