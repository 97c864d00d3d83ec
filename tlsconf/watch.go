package tlsconf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	defaultSettle = 250 * time.Millisecond
	defaultPoll   = time.Minute

	// restless is how many times Settle a change waits for a folder to be quiet.
	restless = 10
)

// Watch renews the configurations when their files change, until ctx is done. Call it once, in a
// goroutine of the caller, after Server and Client; a change between them and Watch is not missed.
func (s *Store) Watch(ctx context.Context) {
	settle, poll := cmp.Or(s.Settle, defaultSettle), cmp.Or(s.Poll, defaultPoll)
	tell := teller{report: s.OnReload}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		tell.trouble(fmt.Errorf("watch certificates: %w (reading them every %s instead)", err, poll))
		follow(ctx, nil, nil, settle, poll, func() { tell.reload(s.refresh()) })
		return
	}
	defer w.Close()
	follow(ctx, w.Events, w.Errors, settle, poll, func() {
		// Watched first: a link that moves between the two is told of.
		tell.trouble(watchFolders(w, s.files()))
		tell.reload(s.refresh())
	})
}

// teller reports, each trouble with watching once.
type teller struct {
	report func(error)
	said   string
}

func (t *teller) trouble(err error) {
	if err == nil {
		t.said = ""
		return
	}
	if t.report != nil && t.said != err.Error() {
		t.said = err.Error()
		t.report(err)
	}
}

func (t *teller) reload(news bool, err error) {
	if news && t.report != nil {
		t.report(err)
	}
}

// follow calls look at once, after changes (an error, such as a full queue, may hide some) and
// every poll.
func follow(ctx context.Context, changes <-chan fsnotify.Event, errs <-chan error, settle, poll time.Duration, look func()) {
	look()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	quiet := time.NewTimer(settle)
	quiet.Stop()
	defer quiet.Stop()
	var since time.Time // of the first change not yet looked at
	changed := func() {
		now := time.Now()
		since = cmp.Or(since, now)
		quiet.Reset(min(settle, since.Add(restless*settle).Sub(now)))
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-changes:
			changed()
		case <-errs:
			changed()
		case <-quiet.C:
			since = time.Time{}
			look()
		case <-tick.C:
			look()
		}
	}
}

// watchFolders makes w watch exactly the folders in which a change can give one of the files
// another content.
func watchFolders(w *fsnotify.Watcher, files []string) error {
	var folders []string
	for _, file := range files {
		folders = append(folders, foldersOf(file)...)
	}
	slices.Sort(folders)
	folders = slices.Compact(folders)
	watched := w.WatchList()
	var problems []error
	for _, folder := range folders {
		if slices.Contains(watched, folder) {
			continue
		}
		if err := w.Add(folder); err != nil {
			problems = append(problems, fmt.Errorf("watch %s for certificates: %w", folder, err))
		}
	}
	for _, folder := range watched {
		if !slices.Contains(folders, folder) {
			// It may be gone by itself, with the folder.
			_ = w.Remove(folder)
		}
	}
	return errors.Join(problems...)
}

// maxLinks is the kernel's own bound on the links of one path (path_resolution(7)).
const maxLinks = 40

// foldersOf walks a path as the kernel does and returns each real folder that holds a link on the
// way or, at the end, the file: in Kubernetes tls.crt leads to ..data/tls.crt, and ..data to a new
// folder with each version. Where the path breaks off, the last folder there is counts.
func foldersOf(file string) []string {
	path, err := filepath.Abs(file)
	if err != nil {
		return nil
	}
	const separator = string(filepath.Separator)
	root := filepath.VolumeName(path) + separator
	at, rest := root, split(path[len(root):])
	var folders []string
	for links := 0; len(rest) > 0; {
		next := filepath.Join(at, rest[0])
		info, err := os.Lstat(next)
		if err != nil || len(rest) == 1 && info.Mode()&os.ModeSymlink == 0 {
			return append(folders, at)
		}
		rest = rest[1:]
		if info.Mode()&os.ModeSymlink == 0 {
			at = next
			continue
		}
		folders = append(folders, at)
		target, err := os.Readlink(next)
		if links++; err != nil || links > maxLinks {
			return folders
		}
		if filepath.IsAbs(target) {
			at, target = root, target[len(root):]
		}
		rest = append(split(target), rest...)
	}
	return append(folders, at)
}

func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == filepath.Separator })
}
