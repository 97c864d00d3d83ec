// Package filewatch tells when files may have another content.
//
// It reads no file and does not know what is in one; whoever is told looks and compares.
package filewatch

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

// Watcher calls Look whenever one of its files may have changed. Its fields are set before Run.
type Watcher struct {
	// Files are those to watch. It is called before each Look, so that they may change.
	Files func() []string

	// Look is called at once, after changes and every Poll, one call at a time.
	Look func()

	// Trouble is told, once each, when the files' folders can't be watched; Poll still goes on. Nil: nobody is.
	Trouble func(error)

	// Settle is how long the files' folders must be quiet after a change before Look, so that files that
	// belong together can be written one after the other. In a folder that is never quiet Look comes every
	// ten times Settle. Zero: 250 ms.
	Settle time.Duration

	// Poll is how often Look is called when nothing told of a change, for file systems that tell of none
	// (NFS) and for folders moved with a folder above them. Zero: one minute.
	Poll time.Duration

	said string // the latest trouble
}

// Run watches until ctx is done. It is called once.
func (w *Watcher) Run(ctx context.Context) {
	settle, poll := cmp.Or(w.Settle, defaultSettle), cmp.Or(w.Poll, defaultPoll)
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		w.trouble(fmt.Errorf("watch files: %w (reading them every %s instead)", err, poll))
		follow(ctx, nil, nil, settle, poll, w.Look)
		return
	}
	defer fs.Close()
	follow(ctx, fs.Events, fs.Errors, settle, poll, func() {
		// Watched first: a link that moves between the two is told of.
		w.trouble(watchFolders(fs, w.Files()))
		w.Look()
	})
}

func (w *Watcher) trouble(err error) {
	if err == nil {
		w.said = ""
		return
	}
	if w.Trouble != nil && w.said != err.Error() {
		w.said = err.Error()
		w.Trouble(err)
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
			problems = append(problems, fmt.Errorf("watch %s: %w", folder, err))
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
