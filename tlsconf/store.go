package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Store makes TLS configurations from files and renews them when the files change. The zero value
// is ready; the exported fields are set before the first use and its methods may be called
// concurrently.
//
// A renewal touches new handshakes only: one that has begun ends with the material it began with,
// and an open connection never notices. A file that turns bad leaves what was loaded from it
// before, and holds up no other file.
type Store struct {
	// OnReload is told by Watch whenever changed files were read: nil if all are good now, else
	// what is wrong with each bad one. It is also told, once, when the files' folders can't be
	// watched. It is called from Watch's goroutine, which waits for it. Nil: nobody is told.
	OnReload func(err error)

	// Settle is how long the files' folders must be quiet after a change before Watch reads the
	// files, so that a certificate and its key can be written one after the other. In a folder that
	// is never quiet they are read every ten times Settle. Zero: 250 ms.
	Settle time.Duration

	// Poll is how often Watch reads the files when nothing told of a change, for file systems that
	// tell of none (NFS) and for folders moved with a folder above them. Zero: one minute.
	Poll time.Duration

	former map[string]*live // what the store that this one is next to had, by settings

	mu      sync.Mutex
	configs []*live // only ever appended to
}

// Next is an empty store with the settings of s. For what it is asked that s had been asked for as well, it
// takes over what s made: session tickets go on, and whoever still uses the configuration gets what either
// store reads. Its certificates must be good now; those of s that it is not asked for are left behind.
func (s *Store) Next() *Store {
	n := &Store{OnReload: s.OnReload, Settle: s.Settle, Poll: s.Poll, former: make(map[string]*live)}
	for _, l := range s.all() {
		n.former[l.settings] = l
	}
	return n
}

// Pair names the PEM files of a certificate and its private key.
type Pair struct {
	// Cert holds the certificate and then, in order, the intermediate ones that lead to its root.
	Cert string
	// Key holds the unencrypted private key. Empty: it is in the file of Cert.
	Key string

	signs bool // certificates of others
}

func (p Pair) keyFile() string {
	if p.Key == "" {
		return p.Cert
	}
	return p.Key
}

// live is one configuration and the files that it is made of.
type live struct {
	settings string      // what it was asked for, as text
	outer    *tls.Config // of a Server
	build    func(*live) *tls.Config

	reading sync.Mutex // guards below, while files are read, which may take long
	pairs   []*material[*tls.Certificate]
	pool    *material[*x509.CertPool] // nil: no CA file

	current atomic.Pointer[version]
}

// version is what a live configuration is until a file changes.
type version struct {
	config       *tls.Config
	certificates []Certificate
}

// live makes the configuration that settings describe, or takes it over. Every problem is reported at once.
func (s *Store) live(settings any, pairs []Pair, ca string, build func(*live) *tls.Config) (*live, error) {
	key := fmt.Sprintf("%T%+v", settings, settings)
	l := s.former[key]
	if l == nil {
		l = &live{settings: key, build: build}
		for _, p := range pairs {
			l.pairs = append(l.pairs, newPair(p))
		}
		if ca != "" {
			l.pool = newPool(ca)
		}
	}
	if _, problems := l.refresh(); len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return l, nil
}

// refresh reads the files again and renews the configuration if one of them has a new good content and,
// at first, all have. It reports whether anything was found that the last refresh did not find, good or bad,
// and what is bad now.
func (l *live) refresh() (news bool, problems []error) {
	l.reading.Lock()
	defer l.reading.Unlock()
	news, replaced := l.read()
	problems = l.problems()
	if replaced && (l.current.Load() != nil || len(problems) == 0) {
		l.publish()
	}
	return news, problems
}

func (l *live) read() (news, replaced bool) {
	note := func(n, r bool) { news, replaced = news || n, replaced || r }
	for _, m := range l.pairs {
		note(m.refresh())
	}
	if l.pool != nil {
		note(l.pool.refresh())
	}
	return news, replaced || l.current.Load() == nil
}

func (l *live) publish() {
	v := &version{config: l.build(l)}
	for _, m := range l.pairs {
		v.certificates = append(v.certificates, newCertificate(m.files[0], m.value.Leaf))
	}
	l.current.Store(v)
}

func (l *live) config() *tls.Config { return l.current.Load().config }

func (l *live) problems() []error {
	var all []error
	for _, m := range l.pairs {
		all = append(all, m.err)
	}
	if l.pool != nil {
		all = append(all, l.pool.err)
	}
	return distinct(all)
}

func (l *live) files() []string {
	var all []string
	for _, m := range l.pairs {
		all = append(all, m.files...)
	}
	if l.pool != nil {
		all = append(all, l.pool.files...)
	}
	return all
}

func (s *Store) add(l *live) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.configs = append(s.configs, l)
}

func (s *Store) all() []*live {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.configs
}

// Reload reads all files now. The error names every file that is bad, each of which goes on with
// its last good content. OnReload is not told.
func (s *Store) Reload() error {
	_, err := s.refresh()
	return err
}

func (s *Store) refresh() (news bool, err error) {
	var problems []error
	for _, l := range s.all() {
		n, p := l.refresh()
		news, problems = news || n, append(problems, p...)
	}
	return news, joinDistinct(problems)
}

func (s *Store) files() []string {
	var files []string
	for _, l := range s.all() {
		files = append(files, l.files()...)
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// joinDistinct joins errors but those that read alike: several configurations may share a file.
func joinDistinct(errs []error) error { return errors.Join(distinct(errs)...) }

func distinct(errs []error) []error {
	seen := map[string]bool{}
	alike := func(err error) bool {
		if err == nil || seen[err.Error()] {
			return true
		}
		seen[err.Error()] = true
		return false
	}
	return slices.DeleteFunc(errs, alike)
}
