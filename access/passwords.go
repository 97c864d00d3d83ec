package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/time/rate"

	"wsproxy/lifecycle"
)

const (
	// verifiedFor is how long a password that was right is taken to be so without asking bcrypt, unless
	// the file changes.
	verifiedFor  = 5 * time.Minute
	verifiedKept = 4096

	// A client may be wrong so many times at once, and then again so often.
	wrongAtOnce = 10
	wrongEvery  = 2 * time.Second
	wrongKept   = 16 << 10 // clients remembered; one that was forgotten begins anew

	// comparing bounds who waits for bcrypt, of which one costs some 50 ms of a core.
	comparing = 256
)

// Passwords are the users of an htpasswd file. Its methods may be called concurrently.
//
// bcrypt takes its time, on purpose, and it takes the same for a user that does not exist. Half of the
// cores are the most that it gets, and a password that was right a moment ago does not ask for it.
type Passwords struct {
	file    string
	users   atomic.Pointer[users]
	wrong   *lru.Cache[netip.Prefix, *rate.Limiter]
	slots   chan struct{}
	waiting atomic.Int32

	compare func(hash, password []byte) error // bcrypt
}

// users is what the file held when it was read, and which passwords have proven right since.
type users struct {
	digest   [sha256.Size]byte // of the file
	hashes   map[string][]byte
	nobody   []byte // the hash of a user that does not exist, as slow as the slowest
	key      [sha256.Size]byte
	verified *lru.Cache[[sha256.Size]byte, time.Time] // until when, by user and password under key
}

// OpenPasswords reads an htpasswd file whose hashes are all bcrypt's (`htpasswd -B`). The error names
// every line that is wrong, and no hash.
func OpenPasswords(path string) (*Passwords, error) {
	p := &Passwords{file: path, compare: bcrypt.CompareHashAndPassword}
	p.slots = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))
	p.wrong, _ = lru.New[netip.Prefix, *rate.Limiter](wrongKept) // the size is right
	if _, err := p.Reload(); err != nil {
		return nil, err
	}
	return p, nil
}

// Files are those to reload for.
func (p *Passwords) Files() []string { return []string{p.file} }

// Reload reads the file anew and says whether it has changed. A file that is bad changes nothing. Who is
// no longer in it, or has another password, is out at once.
func (p *Passwords) Reload() (changed bool, err error) {
	data, err := readPasswords(p.file)
	if err != nil {
		return false, err
	}
	digest := sha256.Sum256(data)
	if before := p.users.Load(); before != nil && before.digest == digest {
		return false, nil
	}
	hashes, err := parsePasswords(p.file, data)
	if err != nil {
		return false, err
	}
	u := &users{digest: digest, hashes: hashes, nobody: nobodyAmong(hashes)}
	rand.Read(u.key[:])
	u.verified, _ = lru.New[[sha256.Size]byte, time.Time](verifiedKept)
	p.users.Store(u)
	return true, nil
}

// Check says whether user has this password. The error is a *lifecycle.Failure: unauthenticated;
// rate_limit if the client was wrong too often lately, or too many others are being checked; or what
// ctx ended with. client is who asks, behind trusted hops if there are any.
func (p *Passwords) Check(ctx context.Context, client netip.Addr, user, password string) error {
	u := p.users.Load()
	proof := u.proof(user, password)
	if until, ok := u.verified.Get(proof); ok && time.Now().Before(until) {
		return nil
	}
	from := attemptsOf(client)
	leave, err := p.enter(ctx, from)
	if err != nil {
		return err
	}
	defer leave()
	hash, known := u.hashes[user]
	if !known {
		hash = u.nobody
	}
	if err := p.compare(hash, []byte(password)); err != nil || !known {
		p.limiter(from).Allow()
		return lifecycle.Failf(lifecycle.ReasonUnauthenticated, "wrong user or password")
	}
	u.verified.Add(proof, time.Now().Add(verifiedFor))
	return nil
}

// enter waits for a core to compare on.
func (p *Passwords) enter(ctx context.Context, from netip.Prefix) (leave func(), err error) {
	defer p.waiting.Add(-1)
	if p.waiting.Add(1) > comparing {
		return nil, lifecycle.Failf(lifecycle.ReasonRateLimit, "too many passwords to check")
	}
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	leave = func() { <-p.slots }
	if p.limiter(from).Tokens() < 1 {
		leave()
		return nil, lifecycle.Failf(lifecycle.ReasonRateLimit, "too many wrong passwords from %s", from)
	}
	return leave, nil
}

// limiter has the wrong passwords of a client. Of two made at once for the same client one counts.
func (p *Passwords) limiter(from netip.Prefix) *rate.Limiter {
	if l, ok := p.wrong.Get(from); ok {
		return l
	}
	l := rate.NewLimiter(rate.Every(wrongEvery), wrongAtOnce)
	if before, ok, _ := p.wrong.PeekOrAdd(from, l); ok {
		return before
	}
	return l
}

// attemptsOf is what counts as one client: of IPv6 a /64, as a host has at least that.
func attemptsOf(client netip.Addr) netip.Prefix {
	client = plainAddr(client)
	bits := client.BitLen()
	if client.Is6() {
		bits = 64
	}
	from, _ := client.Prefix(bits) // an invalid address is a client of its own
	return from
}

// proof is what is kept of a user and password.
func (u *users) proof(user, password string) [sha256.Size]byte {
	mac := hmac.New(sha256.New, u.key[:])
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(user)))
	mac.Write(length[:])
	mac.Write([]byte(user))
	mac.Write([]byte(password))
	return [sha256.Size]byte(mac.Sum(nil))
}
