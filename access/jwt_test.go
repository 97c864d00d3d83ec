package access

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

// signer has keys of several kinds.
type signer struct {
	t    *testing.T
	keys map[string]crypto.PrivateKey
}

func newSigner(t *testing.T) *signer {
	t.Helper()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	e, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, d, _ := ed25519.GenerateKey(rand.Reader)
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return &signer{t, map[string]crypto.PrivateKey{"rsa": r, "ec": e, "ed": d, "other": other}}
}

// set is the key set with some of the keys.
func (s *signer) set(kids ...string) string {
	s.t.Helper()
	storage := jwkset.NewMemoryStorage()
	for _, kid := range kids {
		jwk, err := jwkset.NewJWKFromKey(s.keys[kid], jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: kid}})
		if err != nil {
			s.t.Fatal(err)
		}
		if err := storage.KeyWrite(s.t.Context(), jwk); err != nil {
			s.t.Fatal(err)
		}
	}
	data, err := storage.JSONPublic(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return string(data)
}

func (s *signer) sign(method jwt.SigningMethod, kid string, key any, claims jwt.MapClaims) string {
	s.t.Helper()
	token := jwt.NewWithClaims(method, claims)
	if kid != "" {
		token.Header["kid"] = kid
	}
	signed, err := token.SignedString(key)
	if err != nil {
		s.t.Fatal(err)
	}
	return signed
}

func (s *signer) token(claims jwt.MapClaims) string {
	return s.sign(jwt.SigningMethodES256, "ec", s.keys["ec"], claims)
}

// good are claims with changes; a nil value takes one out.
func good(changes jwt.MapClaims) jwt.MapClaims {
	c := jwt.MapClaims{"sub": "ann", "aud": "chat", "iss": "login", "exp": time.Now().Add(time.Hour).Unix()}
	for k, v := range changes {
		if v == nil {
			delete(c, k)
			continue
		}
		c[k] = v
	}
	return c
}

func asymmetric() []string { return []string{"RS256", "ES256", "EdDSA"} }

func TestJWT(t *testing.T) {
	s := newSigner(t)
	keys, err := OpenKeys(keep(t, s.set("rsa", "ec", "ed")))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." +
		strings.Split(s.token(good(nil)), ".")[1] + "."
	public, _ := json.Marshal(s.set("ec"))
	const invalid = `unauthenticated Bearer realm="r", error="invalid_token"`
	for name, tc := range map[string]struct {
		token  string
		change func(*JWT)
		want   string
	}{
		"ECDSA":                      {token: s.token(good(nil)), want: "jwt ann"},
		"RSA":                        {token: s.sign(jwt.SigningMethodRS256, "rsa", s.keys["rsa"], good(nil)), want: "jwt ann"},
		"Ed25519":                    {token: s.sign(jwt.SigningMethodEdDSA, "ed", s.keys["ed"], good(nil)), want: "jwt ann"},
		"no kid":                     {token: s.sign(jwt.SigningMethodES256, "", s.keys["ec"], good(nil)), want: "jwt ann"},
		"unknown key":                {token: s.sign(jwt.SigningMethodES256, "other", s.keys["other"], good(nil)), want: invalid},
		"another key under the kid":  {token: s.sign(jwt.SigningMethodES256, "ec", s.keys["other"], good(nil)), want: invalid},
		"alg none":                   {token: none, want: invalid},
		"alg HS256, the public key":  {token: s.sign(jwt.SigningMethodHS256, "ec", public, good(nil)), want: invalid},
		"an algorithm not listed":    {token: s.sign(jwt.SigningMethodRS256, "rsa", s.keys["rsa"], good(nil)), change: func(j *JWT) { j.Algorithms = []string{"ES256"} }, want: invalid},
		"expired":                    {token: s.token(good(jwt.MapClaims{"exp": now.Add(-time.Minute).Unix()})), want: invalid},
		"expired, within the leeway": {token: s.token(good(jwt.MapClaims{"exp": now.Add(-time.Second).Unix()})), change: func(j *JWT) { j.Leeway = time.Minute }, want: "jwt ann"},
		"no exp":                     {token: s.token(good(jwt.MapClaims{"exp": nil})), want: invalid},
		"no exp, allowed":            {token: s.token(good(jwt.MapClaims{"exp": nil})), change: func(j *JWT) { j.NoExpiry = true }, want: "jwt ann"},
		"not yet valid":              {token: s.token(good(jwt.MapClaims{"nbf": now.Add(time.Hour).Unix()})), want: invalid},
		"another audience":           {token: s.token(good(jwt.MapClaims{"aud": "mail"})), want: invalid},
		"one of its audiences":       {token: s.token(good(jwt.MapClaims{"aud": []string{"mail", "chat"}})), want: "jwt ann"},
		"no audience":                {token: s.token(good(jwt.MapClaims{"aud": nil})), want: invalid},
		"another issuer":             {token: s.token(good(jwt.MapClaims{"iss": "evil"})), want: invalid},
		"garbage":                    {token: "a.b.c", want: invalid},
		"another identity claim":     {token: s.token(good(jwt.MapClaims{"email": "a@b"})), change: func(j *JWT) { j.Name = "email" }, want: "jwt a@b"},
		"claim":                      {token: s.token(good(jwt.MapClaims{"role": "admin"})), change: func(j *JWT) { j.Claims = map[string]string{"role": "admin"} }, want: "jwt ann"},
		"claim, a list":              {token: s.token(good(jwt.MapClaims{"role": []string{"x", "admin"}})), change: func(j *JWT) { j.Claims = map[string]string{"role": "admin"} }, want: "jwt ann"},
		"claim, a scope":             {token: s.token(good(jwt.MapClaims{"scope": "chat mail"})), change: func(j *JWT) { j.Claims = map[string]string{"scope": "chat"} }, want: "jwt ann"},
		"claim, part of a word":      {token: s.token(good(jwt.MapClaims{"scope": "chatty"})), change: func(j *JWT) { j.Claims = map[string]string{"scope": "chat"} }, want: "forbidden"},
		"claim missing":              {token: s.token(good(nil)), change: func(j *JWT) { j.Claims = map[string]string{"role": "admin"} }, want: "forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			j := &JWT{Keys: keys, Sources: []TokenSource{{kind: "authorization"}}, Algorithms: asymmetric(), Audience: "chat", Issuer: "login", Realm: "r"}
			if tc.change != nil {
				tc.change(j)
			}
			a := &Authenticator{Methods: []Method{j}}
			in, err := a.Admit(t.Context(), shown("/", "Authorization: Bearer "+tc.token))
			if got := told(in, err); got != tc.want {
				t.Errorf("got %s (%v), want %s", got, err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), strings.Split(tc.token, ".")[1]) {
				t.Errorf("got %v, which shows the token", err)
			}
		})
	}
}

func TestJWTSources(t *testing.T) {
	s := newSigner(t)
	keys, err := OpenKeys(keep(t, s.set("ec")))
	if err != nil {
		t.Fatal(err)
	}
	token := s.token(good(nil))
	j := &JWT{Keys: keys, Algorithms: asymmetric(), Leeway: time.Minute, Realm: "r",
		Sources: []TokenSource{{kind: "authorization"}, {"header", "X-Token"}, {"cookie", "token"}, {"query", "access_token"}, {"subprotocol", "bearer."}}}
	for name, r := range map[string]*Request{
		"authorization": shown("/", "Authorization: bearer "+token), "header": shown("/", "X-Token: "+token), "cookie": shown("/", "Cookie: a=b; token="+token),
		"query": shown("/?access_token=" + token), "subprotocol": shown("/", "Sec-WebSocket-Protocol: chat.v2, bearer."+token),
	} {
		t.Run(name, func(t *testing.T) {
			id, err := j.Identify(t.Context(), r)
			if err != nil || id.Name != "ann" {
				t.Fatalf("got %v, %v, want ann", id, err)
			}
			if left := time.Until(id.Expires); left < time.Hour || left > time.Hour+2*time.Minute {
				t.Errorf("got %v until it ends, want an hour and the leeway", left)
			}
		})
	}
}

// A set at a URL is fetched, kept when the URL fails, and fetched again for a key that is not in it, but
// not as often as clients like.
func TestFetchedKeys(t *testing.T) {
	s := newSigner(t)
	var body atomic.Value
	var fetches atomic.Int32
	body.Store("")
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetches.Add(1)
		if text := body.Load().(string); text != "" {
			w.Write([]byte(text))
			return
		}
		w.WriteHeader(500)
	}))
	defer service.Close()
	keys := FetchKeys(service.URL, time.Hour, service.Client(), slog.New(slog.DiscardHandler))
	j := &JWT{Keys: keys, Sources: []TokenSource{{kind: "authorization"}}, Algorithms: asymmetric(), Realm: "r"}
	a := &Authenticator{Methods: []Method{j}}
	try := func(kid string) string {
		token := s.sign(jwt.SigningMethodES256, kid, s.keys[kid], good(nil))
		got := told(a.Admit(t.Context(), shown("/", "Authorization: Bearer "+token)))
		reason, _, _ := strings.Cut(got, " ")
		return reason
	}
	if got := try("ec"); got != "internal" {
		t.Errorf("before there is a set: got %s, want internal", got)
	}
	body.Store(s.set("ec"))
	if err := keys.fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := try("ec"); got != "jwt" {
		t.Errorf("got %s, want jwt", got)
	}
	body.Store(s.set("ec", "other"))
	before := fetches.Load()
	if got := try("other"); got != "jwt" {
		t.Errorf("a new key: got %s, want jwt", got)
	}
	delete(s.keys, "rsa")
	s.keys["rsa"] = s.keys["ed"]
	for range 10 {
		token := s.sign(jwt.SigningMethodEdDSA, "nobody's", s.keys["ed"], good(nil))
		if got := told(a.Admit(t.Context(), shown("/", "Authorization: Bearer "+token))); !strings.HasPrefix(got, "unauthenticated") {
			t.Errorf("an unknown key: got %s, want unauthenticated", got)
		}
	}
	if got := fetches.Load() - before; got != 1 {
		t.Errorf("got %d fetches for unknown keys, want 1", got)
	}
	body.Store("")
	if err := keys.fetch(t.Context()); err == nil || try("ec") != "jwt" {
		t.Errorf("a service that fails: got %v and %s, want an error and the former set", err, try("ec"))
	}
	body.Store(`{"keys": "` + strings.Repeat("x", maxKeySet) + `"}`)
	if err := keys.fetch(t.Context()); err == nil || try("ec") != "jwt" {
		t.Errorf("a set that is too large: got %v", err)
	}
}

func TestRunEnds(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) }))
	defer service.Close()
	keys := FetchKeys(service.URL, time.Hour, service.Client(), slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		keys.Run(ctx)
		close(done)
	}()
	cancel()
	<-done
}

func TestOpenKeysRefuses(t *testing.T) {
	for name, text := range map[string]string{"no JSON": "secret", "no set": `{"k":"secret"}x`, "a bad key": `{"keys":[{"kty":"RSA","n":"secret!"}]}`} {
		t.Run(name, func(t *testing.T) {
			_, err := OpenKeys(keep(t, text))
			if err == nil || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, want an error that shows nothing of the file", err)
			}
		})
	}
}
