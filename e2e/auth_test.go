//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/websocket"
	"golang.org/x/crypto/bcrypt"
)

// What nobody may ever read in a log.
const (
	password = "pa55word-canary"
	apiKey   = "k3y-canary"
)

// issuer signs tokens.
type issuer struct {
	t   *testing.T
	key *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{t, key}
}

// keys is the public key set.
func (i *issuer) keys() []byte {
	i.t.Helper()
	jwk, err := jwkset.NewJWKFromKey(i.key, jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: "one"}})
	if err != nil {
		i.t.Fatal(err)
	}
	set := jwkset.NewMemoryStorage()
	if err := set.KeyWrite(i.t.Context(), jwk); err != nil {
		i.t.Fatal(err)
	}
	data, err := set.JSONPublic(i.t.Context())
	if err != nil {
		i.t.Fatal(err)
	}
	return data
}

func (i *issuer) token(life time.Duration, audience string) string {
	i.t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"sub": "ann", "aud": audience, "exp": time.Now().Add(life).Unix()})
	token.Header["kid"] = "one"
	signed, err := token.SignedString(i.key)
	if err != nil {
		i.t.Fatal(err)
	}
	return signed
}

func (h *house) file(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// authentication has clients show credentials of every kind, right and wrong ones.
func (h *house) authentication(t *testing.T) {
	e := startEcho(t, h)
	tokens := newIssuer(t)
	jwks := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(tokens.keys()) }))
	t.Cleanup(jwks.Close)
	var banned atomic.Bool
	checker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Cookie") != "session=good" || banned.Load() {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.Header().Set("X-User", "ann")
	}))
	t.Cleanup(checker.Close)
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	s := h.newSettings(t)
	delete(s.telemetry, "otlp")
	s.clientCA = h.caFile
	for name, auth := range map[string]object{
		"basic":  {"basic": object{"htpasswd": h.file(t, "htpasswd", "ann:"+string(hash))}},
		"key":    {"api_key": object{"keys": h.file(t, "keys", fmt.Sprintf("pump:%x\n", sha256.Sum256([]byte(apiKey))))}, "strip": true},
		"query":  {"api_key": object{"keys": h.file(t, "keys", fmt.Sprintf("pump:%x\n", sha256.Sum256([]byte(apiKey)))), "query": "key"}, "strip": true},
		"file":   {"jwt": object{"jwks": "file:" + h.file(t, "jwks.json", string(tokens.keys())), "audience": "chat", "leeway": "0s", "tokens": []string{"authorization", "cookie:token", "query:access_token", "subprotocol:bearer."}}, "strip": true},
		"url":    {"jwt": object{"jwks": jwks.URL, "audience": "chat"}},
		"check":  {"check": object{"url": checker.URL, "headers": []string{"Cookie"}, "copy": []string{"X-User"}, "identity": "X-User", "interval": "1s"}},
		"mtls":   {"mtls": object{"names": []string{"local*"}}},
		"others": {"mtls": object{"names": []string{"remote*"}}},
	} {
		s.route(name, object{"auth": auth}, "ws://"+e.plain)
	}
	w := h.serve(t, s)
	good := tokens.token(time.Hour, "chat")
	bearer := func(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }
	basic := func(password string) http.Header {
		r := &http.Request{Header: http.Header{}}
		r.SetBasicAuth("ann", password)
		return r.Header
	}
	for _, tc := range []struct {
		name, path string
		request    request
		status     int
		challenge  string
	}{
		{"basic", "/basic/a", request{header: basic(password)}, 101, ""},
		{"basic, wrong", "/basic/b", request{header: basic("wrong")}, 401, "Basic "},
		{"basic, none", "/basic/c", request{}, 401, "Basic "},
		{"key", "/key/a", request{header: http.Header{"X-API-Key": {apiKey}}}, 101, ""},
		{"key, wrong", "/key/b", request{header: http.Header{"X-API-Key": {"wrong"}}}, 401, ""},
		{"key in the query", "/query/a?key=" + apiKey + "&room=1", request{}, 101, ""},
		{"token", "/file/a", request{header: bearer(good)}, 101, ""},
		{"token in a cookie", "/file/b", request{header: http.Header{"Cookie": {"token=" + good}}}, 101, ""},
		{"token in the query", "/file/c?access_token=" + good, request{}, 101, ""},
		{"token as a subprotocol", "/file/d", request{subprotocols: []string{subprotocol, "bearer." + good}}, 101, ""},
		{"token, none", "/file/e", request{}, 401, `Bearer realm="wsproxy"`},
		{"token, another audience", "/file/f", request{header: bearer(tokens.token(time.Hour, "mail"))}, 401, `error="invalid_token"`},
		{"token, expired", "/file/g", request{header: bearer(tokens.token(-time.Minute, "chat"))}, 401, `error="invalid_token"`},
		{"token, of another issuer", "/file/h", request{header: bearer(newIssuer(t).token(time.Hour, "chat"))}, 401, `error="invalid_token"`},
		{"token, keys from a URL", "/url/a", request{header: bearer(good)}, 101, ""},
		{"check", "/check/a", request{header: http.Header{"Cookie": {"session=good"}}}, 101, ""},
		{"check, no", "/check/b", request{header: http.Header{"Cookie": {"session=bad"}}}, 403, ""},
		{"certificate", "/mtls/a", request{secure: true, certificate: true}, 101, ""},
		{"certificate, none", "/mtls/b", request{}, 401, ""},
		{"certificate, another name", "/others/a", request{secure: true, certificate: true}, 403, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, no := h.dial(t, w, tc.path, tc.request)
			if c != nil {
				c.talk(t, websocket.TextMessage, []byte("hello"))
				c.leave(t, 1000)
			}
			switch {
			case no == nil && tc.status != 101:
				t.Errorf("got in, want %d", tc.status)
			case no != nil && (no.status != tc.status || !strings.HasPrefix(no.header.Get("WWW-Authenticate"), strings.Split(tc.challenge, "error")[0]) ||
				!strings.Contains(no.header.Get("WWW-Authenticate"), tc.challenge) && !strings.HasPrefix(tc.challenge, "Basic")):
				t.Errorf("got %d %s, challenge %q, want %d with %q", no.status, no.Reason, no.header.Get("WWW-Authenticate"), tc.status, tc.challenge)
			}
		})
	}
	t.Run("a token ends its connection", func(t *testing.T) {
		c := h.open(t, w, "/file/short", request{header: bearer(tokens.token(3*time.Second, "chat"))})
		c.talk(t, websocket.TextMessage, []byte("hello"))
		c.closed(t, 4401)
	})
	t.Run("a check ends its connection", func(t *testing.T) {
		c := h.open(t, w, "/check/ban", request{header: http.Header{"Cookie": {"session=good"}}})
		banned.Store(true)
		c.closed(t, 4401)
	})
	t.Run("what the upstream gets", func(t *testing.T) {
		for path, absent := range map[string]string{"/key/a": "X-Api-Key", "/file/a": "Authorization", "/file/b": "Cookie"} {
			if got, seen := e.header(path), e.header(path).Get(absent); got == nil || seen != "" {
				t.Errorf("%s: got %s %q, want none", path, absent, seen)
			}
		}
		if e.header("/query/a?room=1") == nil || e.header("/file/c") == nil {
			t.Error("got no request without the key or token in its query")
		}
		if got := e.header("/file/d").Get("Sec-WebSocket-Protocol"); got != subprotocol {
			t.Errorf("got subprotocols %q, want %q", got, subprotocol)
		}
		if got := e.header("/basic/a").Get("Authorization"); got == "" {
			t.Error("without strip: got no Authorization")
		}
		if got := e.header("/check/a").Get("X-User"); got != "ann" {
			t.Errorf("got X-User %q, want ann", got)
		}
	})
	h.browserLike(t, w, good)
	h.curl(t, w)
	w.stop(t)
	for _, secret := range []string{password, apiKey, good, url.QueryEscape(good), "session=good"} {
		if bytes.Contains(w.log(t), []byte(secret)) {
			t.Errorf("the log has the secret %.12s…", secret)
		}
	}
	if !bytes.Contains(w.log(t), []byte(`"identity":"`)) {
		t.Error("the log has no identity")
	}
}

// browserLike connects with Node's own WebSocket, which as a browser's can set no header.
func (h *house) browserLike(t *testing.T, w *wsproxy, token string) {
	if h.missing(t, "node") {
		return
	}
	script := `const ws = new WebSocket(process.argv[1], ["chat.v2", "bearer." + process.argv[2]]);
ws.onopen = () => ws.send("hello"); ws.onmessage = m => { console.log(ws.protocol, m.data); ws.close(1000); };
ws.onerror = () => { console.log("refused"); };`
	for _, tc := range []struct{ token, want string }{{token, "chat.v2 hello"}, {"wrong", "refused"}} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		out, err := exec.CommandContext(ctx, h.programs["node"], "--no-warnings", "--experimental-websocket", "-e", script, "ws://"+w.plain+"/file/node", tc.token).Output()
		if got := strings.TrimSpace(string(out)); got != tc.want {
			t.Errorf("Node: got %q, %v, want %q", got, err, tc.want)
		}
	}
}

// curl asks for a page, which needs a password as a WebSocket does.
func (h *house) curl(t *testing.T, w *wsproxy) {
	if h.missing(t, "curl") {
		return
	}
	for user, want := range map[string]string{"ann:" + password: "200", "ann:wrong": "401", "bob:" + password: "401"} {
		out, err := exec.CommandContext(t.Context(), h.programs["curl"], "-s", "-o", os.DevNull, "-w", "%{http_code}", "-u", user, "http://"+w.plain+"/basic/page").Output()
		if got := string(out); got != want {
			t.Errorf("curl as %.4s: got %s, %v, want %s", user, got, err, want)
		}
	}
	if _, no := h.dial(t, w, "/basic/again", request{}); no == nil || no.Reason != "unauthenticated" {
		t.Errorf("got %+v, want unauthenticated", no)
	}
}
