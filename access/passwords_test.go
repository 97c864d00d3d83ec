package access

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"wsproxy/lifecycle"
)

var (
	here  = netip.MustParseAddr("192.0.2.1")
	there = netip.MustParseAddr("192.0.2.2")
)

func hashed(t testing.TB, password string, cost int) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

func passwordFile(t testing.TB, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "htpasswd")
	write(t, path, lines...)
	return path
}

func write(t testing.TB, path string, lines ...string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// open also counts how often bcrypt is asked, and of what cost.
func open(t testing.TB, path string) (p *Passwords, asked *atomic.Int32, cost *atomic.Int32) {
	t.Helper()
	p, err := OpenPasswords(path)
	if err != nil {
		t.Fatal(err)
	}
	asked, cost = new(atomic.Int32), new(atomic.Int32)
	compare := p.compare
	p.compare = func(hash, password []byte) error {
		c, err := bcrypt.Cost(hash)
		if err != nil {
			t.Errorf("got %v, want a hash", err)
		}
		cost.Store(int32(c))
		asked.Add(1)
		return compare(hash, password)
	}
	return p, asked, cost
}

func checkReason(t *testing.T, what string, err error, want lifecycle.Reason) {
	t.Helper()
	got := lifecycle.ReasonNone
	if f, ok := errors.AsType[*lifecycle.Failure](err); ok {
		got = f.Reason
	} else if err != nil {
		t.Errorf("%s: got %v, want a failure", what, err)
	}
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestPasswords(t *testing.T) {
	made := strings.Replace(hashed(t, "secret", 4), "$2a$", "$2y$", 1)
	p, asked, cost := open(t, passwordFile(t, "# users", "", "alice:"+made, "  bob:"+hashed(t, "p:ss", 5)+"  ", "nobody:"+hashed(t, "", 4)))
	cases := []struct {
		name, user, password string
		want                 lifecycle.Reason
		asked                int32 // of bcrypt
	}{
		{"right", "alice", "secret", lifecycle.ReasonNone, 1},
		{"right again", "alice", "secret", lifecycle.ReasonNone, 0},
		{"with a colon", "bob", "p:ss", lifecycle.ReasonNone, 1},
		{"wrong", "alice", "p:ss", lifecycle.ReasonUnauthenticated, 1},
		{"wrong again", "alice", "p:ss", lifecycle.ReasonUnauthenticated, 1},
		{"unknown", "carol", "secret", lifecycle.ReasonUnauthenticated, 1},
		{"no user", "", "", lifecycle.ReasonUnauthenticated, 1},
		{"user and password run together", "alicese", "cret", lifecycle.ReasonUnauthenticated, 1},
		{"another's case", "Alice", "secret", lifecycle.ReasonUnauthenticated, 1},
		{"an empty password that is right", "nobody", "", lifecycle.ReasonNone, 1},
	}
	for _, c := range cases {
		before := asked.Load()
		checkReason(t, c.name, p.Check(t.Context(), here, c.user, c.password), c.want)
		if got := asked.Load() - before; got != c.asked {
			t.Errorf("%s: got %d questions to bcrypt, want %d", c.name, got, c.asked)
		}
	}
	// What an unknown user costs must not be less than what any known one does.
	p.Check(t.Context(), there, "carol", "secret")
	if got := cost.Load(); got != 5 {
		t.Errorf("got an unknown user of cost %d, want 5", got)
	}
}

func TestPasswordsOfAnEmptyFile(t *testing.T) {
	p, asked, _ := open(t, passwordFile(t))
	checkReason(t, "anybody", p.Check(t.Context(), here, "", ""), lifecycle.ReasonUnauthenticated)
	if asked.Load() != 1 {
		t.Error("got no question to bcrypt, want one")
	}
}

func TestPasswordsForgetAndLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, asked, _ := open(t, passwordFile(t, "alice:"+hashed(t, "secret", 4)))
		check := func(from netip.Addr, password string, want lifecycle.Reason) {
			t.Helper()
			checkReason(t, from.String(), p.Check(t.Context(), from, "alice", password), want)
		}
		check(there, "secret", lifecycle.ReasonNone)
		time.Sleep(verifiedFor + time.Second)
		check(there, "secret", lifecycle.ReasonNone)
		if got := asked.Load(); got != 2 {
			t.Errorf("got %d questions to bcrypt, want one more when it was forgotten", got)
		}
		for range wrongAtOnce {
			check(here, "wrong", lifecycle.ReasonUnauthenticated)
		}
		check(here, "wrong", lifecycle.ReasonRateLimit)
		check(here, "another", lifecycle.ReasonRateLimit)
		check(here, "secret", lifecycle.ReasonNone) // known to be right, so no guess
		check(there, "wrong", lifecycle.ReasonUnauthenticated)
		before := asked.Load()
		check(here, "wrong", lifecycle.ReasonRateLimit)
		if asked.Load() != before {
			t.Error("got a question to bcrypt over the limit, want none")
		}
		time.Sleep(wrongEvery + time.Millisecond)
		check(here, "wrong", lifecycle.ReasonUnauthenticated)
		check(here, "wrong", lifecycle.ReasonRateLimit)
	})
}

// Right passwords of many users behind one address are not held against it.
func TestPasswordsRightAreNotLimited(t *testing.T) {
	lines := []string{}
	for user := range 3 * wrongAtOnce {
		lines = append(lines, string(rune('a'+user))+":"+hashed(t, "secret", 4))
	}
	p, _, _ := open(t, passwordFile(t, lines...))
	for user := range 3 * wrongAtOnce {
		checkReason(t, "one of many", p.Check(t.Context(), here, string(rune('a'+user)), "secret"), lifecycle.ReasonNone)
	}
}

func TestPasswordsCountNetworksOfIPv6(t *testing.T) {
	p, _, _ := open(t, passwordFile(t, "alice:"+hashed(t, "secret", 4)))
	for i := range wrongAtOnce + 1 {
		from := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)})
		want := lifecycle.ReasonUnauthenticated
		if i == wrongAtOnce {
			want = lifecycle.ReasonRateLimit
		}
		checkReason(t, from.String(), p.Check(t.Context(), from, "alice", "wrong"), want)
	}
	for _, mapped := range []string{"::ffff:192.0.2.1", "192.0.2.1"} {
		if got, want := attemptsOf(netip.MustParseAddr(mapped)), netip.MustParsePrefix("192.0.2.1/32"); got != want {
			t.Errorf("%s: got %s, want %s", mapped, got, want)
		}
	}
}

func TestPasswordsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _, _ := open(t, passwordFile(t, "alice:"+hashed(t, "secret", 4)))
		p.slots = make(chan struct{}, 1)
		p.compare = func([]byte, []byte) error { time.Sleep(time.Minute); return nil }
		first := make(chan error, 1)
		go func() { first <- p.Check(t.Context(), here, "alice", "1") }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Check(ctx, here, "alice", "2"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the context's end", err)
		}
		p.waiting.Store(comparing)
		checkReason(t, "one too many", p.Check(t.Context(), here, "alice", "3"), lifecycle.ReasonRateLimit)
		if err := <-first; err != nil {
			t.Errorf("got %v for the first, want none", err)
		}
	})
}

func TestPasswordsReload(t *testing.T) {
	path := passwordFile(t, "alice:"+hashed(t, "secret", 4), "bob:"+hashed(t, "secret", 4))
	p, asked, _ := open(t, path)
	reload := func(wantChanged, wantErr bool) {
		t.Helper()
		if changed, err := p.Reload(); changed != wantChanged || (err != nil) != wantErr {
			t.Errorf("got %t and error %v, want %t and an error: %t", changed, err, wantChanged, wantErr)
		}
	}
	check := func(user, password string, want lifecycle.Reason) {
		t.Helper()
		checkReason(t, user, p.Check(t.Context(), here, user, password), want)
	}
	check("alice", "secret", lifecycle.ReasonNone)
	check("bob", "secret", lifecycle.ReasonNone)
	reload(false, false)
	check("alice", "secret", lifecycle.ReasonNone)
	if asked.Load() != 2 {
		t.Errorf("got %d questions to bcrypt, want 2: nothing has changed", asked.Load())
	}
	write(t, path, "alice:"+hashed(t, "changed", 4), "bob:oops")
	reload(false, true)
	check("alice", "secret", lifecycle.ReasonNone)
	write(t, path, "alice:"+hashed(t, "changed", 4))
	reload(true, false)
	check("alice", "secret", lifecycle.ReasonUnauthenticated)
	check("alice", "changed", lifecycle.ReasonNone)
	check("bob", "secret", lifecycle.ReasonUnauthenticated)
	os.Remove(path)
	reload(false, true)
	check("alice", "changed", lifecycle.ReasonNone)
}

func TestOpenPasswordsRefuses(t *testing.T) {
	good := hashed(t, "secret", 4)
	for name, c := range map[string]struct{ line, want string }{
		"no colon":          {"alice", "want user:hash"},
		"no user":           {":" + good, "want user:hash"},
		"a long user":       {strings.Repeat("a", 256) + ":" + good, "want user:hash"},
		"MD5":               {"alice:$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/", "htpasswd -B"},
		"SHA-1":             {"alice:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "htpasswd -B"},
		"a password":        {"alice:canary", "htpasswd -B"},
		"no hash":           {"alice:", "htpasswd -B"},
		"half a hash":       {"alice:" + good[:40], "damaged"},
		"a longer hash":     {"alice:" + good + "a", "damaged"},
		"other characters":  {"alice:" + good[:59] + "*", "damaged"},
		"the buggy variant": {"alice:" + strings.Replace(good, "$2a$", "$2x$", 1), "htpasswd -B"},
		"a huge cost":       {"alice:" + strings.Replace(good, "$04$", "$31$", 1), "cost 31"},
		"twice":             {"bob:" + good, `"bob" stands twice`},
	} {
		t.Run(name, func(t *testing.T) {
			path := passwordFile(t, "# first", "bob:"+good, c.line)
			_, err := OpenPasswords(path)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), path+":3: ") {
				t.Fatalf("got %v, want an error of line 3 with %q", err, c.want)
			}
			if _, hash, _ := strings.Cut(c.line, ":"); hash != "" && strings.Contains(err.Error(), hash) {
				t.Errorf("got %q, want an error without the hash", err)
			}
		})
	}
	if _, err := OpenPasswords(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("got %v for a folder, want an error", err)
	}
	if _, err := OpenPasswords(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v for no file, want that said", err)
	}
}

func FuzzPasswords(f *testing.F) {
	f.Add("alice:$2y$04$......................................................\n#\n\nbob:x", "alice")
	f.Fuzz(func(t *testing.T, file, user string) {
		hashes, err := parsePasswords("htpasswd", []byte(file))
		if err == nil && len(hashes) > 0 && !strings.Contains(file, "$2") {
			t.Errorf("got %d users of a file without bcrypt", len(hashes))
		}
		for user, hash := range hashes {
			if bcrypt.CompareHashAndPassword(hash[:0], nil) == nil || user == "" || len(hash) != hashLength {
				t.Errorf("got %q with a hash of %d bytes", user, len(hash))
			}
		}
	})
}
