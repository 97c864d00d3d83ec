package tlsconf

import (
	"context"

	"wsproxy/filewatch"
)

// Watch renews the configurations when their files change, until ctx is done. Call it once, in a
// goroutine of the caller, after Server and Client; a change between them and Watch is not missed.
func (s *Store) Watch(ctx context.Context) {
	w := filewatch.Watcher{Files: s.files, Look: s.look, Trouble: s.OnReload, Settle: s.Settle, Poll: s.Poll}
	w.Run(ctx)
}

// look reads the files again and tells if there was something new in them.
func (s *Store) look() {
	if news, err := s.refresh(); news && s.OnReload != nil {
		s.OnReload(err)
	}
}
