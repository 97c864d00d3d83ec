package access

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"wsproxy/lifecycle"
)

// shown is a request with header lines, of a client at 192.0.2.7.
func shown(target string, lines ...string) *Request {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		r.Header.Add(name, value)
	}
	return &Request{Request: r, Client: netip.MustParseAddr("192.0.2.7"), Scheme: "https", Host: "example.com"}
}

func keep(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// told is an outcome in one line: an identity, or a reason with what the client is challenged with.
func told(a *Admission, err error) string {
	if err != nil {
		f, ok := errors.AsType[*lifecycle.Failure](err)
		if !ok {
			return err.Error()
		}
		return strings.TrimSpace(f.Reason.String() + " " + strings.Join(f.Challenges, ", "))
	}
	if a.Identity == nil {
		return "nobody"
	}
	return a.Identity.Method + " " + a.Identity.Name
}

func digest(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

func certificate(names ...string) *x509.Certificate {
	c := &x509.Certificate{Subject: pkix.Name{CommonName: "pump-7", Organization: []string{"Example"}}, NotAfter: time.Now().Add(time.Hour)}
	for _, n := range names {
		if strings.Contains(n, "://") {
			u, _ := url.Parse(n)
			c.URIs = append(c.URIs, u)
		} else {
			c.DNSNames = append(c.DNSNames, n)
		}
	}
	return c
}

func TestAdmit(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	passwords, err := OpenPasswords(keep(t, "ann:"+string(hash)+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	basic := &Basic{Passwords: passwords, Realm: `the "realm"`}
	file := keep(t, "# keys\npump:"+digest("k1")+"\n\nvalve:"+digest("k2")+"\n")
	inHeader, err := OpenAPIKeys(file, TokenSource{"header", "X-API-Key"})
	if err != nil {
		t.Fatal(err)
	}
	inQuery, _ := OpenAPIKeys(file, TokenSource{"query", "key"})
	const challenge = `Basic realm="the \"realm\"", charset="UTF-8"`
	for name, tc := range map[string]struct {
		methods []Method
		request *Request
		cert    *x509.Certificate
		want    string
	}{
		"basic":                      {methods: []Method{basic}, request: shown("/", "Authorization: Basic YW5uOnNlY3JldA=="), want: "basic ann"},
		"basic, wrong":               {methods: []Method{basic}, request: shown("/", "Authorization: Basic YW5uOndyb25n"), want: "unauthenticated " + challenge},
		"basic, nothing":             {methods: []Method{basic}, request: shown("/"), want: "unauthenticated " + challenge},
		"basic, another scheme":      {methods: []Method{basic}, request: shown("/", "Authorization: Bearer YW5uOnNlY3JldA=="), want: "unauthenticated " + challenge},
		"key in a header":            {methods: []Method{inHeader}, request: shown("/", "X-API-Key: k2"), want: "api_key valve"},
		"key in the query":           {methods: []Method{inQuery}, request: shown("/?a=b&key=k1"), want: "api_key pump"},
		"key, wrong":                 {methods: []Method{inHeader}, request: shown("/", "X-API-Key: k3"), want: "unauthenticated"},
		"key, its digest":            {methods: []Method{inHeader}, request: shown("/", "X-API-Key: "+digest("k1")), want: "unauthenticated"},
		"one of two is enough":       {methods: []Method{basic, inHeader}, request: shown("/", "X-API-Key: k1"), want: "api_key pump"},
		"one wrong and one right":    {methods: []Method{basic, inHeader}, request: shown("/", "Authorization: Basic YW5uOndyb25n", "X-API-Key: k1"), want: "api_key pump"},
		"both wrong":                 {methods: []Method{inHeader, basic}, request: shown("/", "Authorization: Basic YW5uOndyb25n", "X-API-Key: k"), want: "unauthenticated " + challenge},
		"certificate":                {methods: []Method{&Certificates{}}, request: shown("/"), cert: certificate(), want: "mtls CN=pump-7,O=Example"},
		"no certificate":             {methods: []Method{&Certificates{}}, request: shown("/"), want: "unauthenticated"},
		"subject":                    {methods: []Method{&Certificates{Subjects: []string{"CN=*,O=Example"}}}, request: shown("/"), cert: certificate(), want: "mtls CN=pump-7,O=Example"},
		"another subject":            {methods: []Method{&Certificates{Subjects: []string{"CN=*"}}}, request: shown("/"), cert: certificate(), want: "forbidden"},
		"name":                       {methods: []Method{&Certificates{Names: []string{"*.example.com"}}}, request: shown("/"), cert: certificate("a.test", "p.example.com"), want: "mtls p.example.com"},
		"URI":                        {methods: []Method{&Certificates{Names: []string{"spiffe://example.com/*"}}}, request: shown("/"), cert: certificate("spiffe://example.com/pump"), want: "mtls spiffe://example.com/pump"},
		"star stops at a slash":      {methods: []Method{&Certificates{Names: []string{"spiffe://example.com/*"}}}, request: shown("/"), cert: certificate("spiffe://example.com/a/b"), want: "forbidden"},
		"forbidden beats wrong":      {methods: []Method{inHeader, &Certificates{Names: []string{"x"}}}, request: shown("/", "X-API-Key: k"), cert: certificate(), want: "forbidden"},
		"forbidden, but a right key": {methods: []Method{&Certificates{Names: []string{"x"}}, inHeader}, request: shown("/", "X-API-Key: k1"), cert: certificate(), want: "api_key pump"},
	} {
		t.Run(name, func(t *testing.T) {
			a := &Authenticator{Methods: tc.methods}
			tc.request.Certificate = tc.cert
			if got := told(a.Admit(t.Context(), tc.request)); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestStrip(t *testing.T) {
	j := &JWT{Sources: []TokenSource{{"authorization", ""}, {"cookie", "token"}, {"query", "access token"}, {"subprotocol", "bearer."}}}
	a := &Authenticator{Methods: []Method{j}, Strip: true}
	r := shown("/chat?a=1&access%20token=T&b=%2F&access+token=U", "Authorization: Bearer T", "Cookie: a=1; token=T; b=2", "Cookie: c=3",
		"Sec-WebSocket-Protocol: chat.v2, bearer.T", "Sec-WebSocket-Protocol: chat.v1")
	out := a.forwarded(r)
	for name, want := range map[string]string{"Authorization": "", "Cookie": "a=1; b=2; c=3", "Sec-Websocket-Protocol": "chat.v2, chat.v1"} {
		if got := strings.Join(out.Header[name], " | "); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if got, want := out.URL.RequestURI(), "/chat?a=1&b=%2F"; got != want {
		t.Errorf("target: got %q, want %q", got, want)
	}
	if r.Header.Get("Authorization") == "" || !strings.Contains(r.URL.RawQuery, "access") {
		t.Error("the client's own request was changed")
	}
	a.Strip = false
	out = a.forwarded(r)
	if got := out.Header.Get("Authorization"); got != "Bearer T" {
		t.Errorf("without strip: got Authorization %q, want it as sent", got)
	}
	if got, want := out.Header.Get("Sec-WebSocket-Protocol"), "chat.v2, chat.v1"; got != want {
		t.Errorf("without strip: got subprotocols %q, want %q", got, want)
	}
}

// Credentials of another kind in the same header are not a method's to strip.
func TestStripLeavesOthers(t *testing.T) {
	r := shown("/", "Authorization: Basic YW5uOnNlY3JldA==").Request
	TokenSource{kind: "authorization"}.strip(r, false)
	if r.Header.Get("Authorization") == "" {
		t.Error("a bearer source took Basic out")
	}
	(&Basic{}).Strip(r, false)
	if r.Header.Get("Authorization") != "" {
		t.Error("got Basic still there")
	}
}

func TestParseTokenSource(t *testing.T) {
	for s, valid := range map[string]bool{
		"authorization": true, "header:X-Token": true, "cookie:token": true, "query:t": true, "subprotocol:bearer.": true,
		"": false, "header": false, "header:": false, "authorization:x": false, "body:x": false,
	} {
		if _, err := ParseTokenSource(s); (err == nil) != valid {
			t.Errorf("%q: got %v, want valid %t", s, err, valid)
		}
	}
}

func TestOpenAPIKeysRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no digest": "pump\n", "short digest": "pump:abcd\n", "long digest": "pump:" + digest("k") + "00\n", "no name": ":" + digest("k") + "\n",
		"the key itself": "pump:" + strings.Repeat("k", 64) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := OpenAPIKeys(keep(t, text), TokenSource{"header", "X"})
			if err == nil || !strings.Contains(err.Error(), ":1:") || strings.Contains(err.Error(), "kkkk") {
				t.Errorf("got %v, want the line and nothing of it", err)
			}
		})
	}
}

// A file that changes is read anew, a bad one changes nothing.
func TestReloadAPIKeys(t *testing.T) {
	file := keep(t, "pump:"+digest("old")+"\n")
	keys, err := OpenAPIKeys(file, TokenSource{"header", "X-API-Key"})
	if err != nil {
		t.Fatal(err)
	}
	lets := func(key string) bool {
		_, err := keys.Identify(t.Context(), shown("/", "X-API-Key: "+key))
		return err == nil
	}
	os.WriteFile(file, []byte("pump:"+digest("new")+"\n"), 0o600)
	if changed, err := keys.Reload(); !changed || err != nil || lets("old") || !lets("new") {
		t.Errorf("after a change: got changed %t, %v, old %t, new %t", changed, err, lets("old"), lets("new"))
	}
	os.WriteFile(file, []byte("garbage"), 0o600)
	if changed, err := keys.Reload(); changed || err == nil || !lets("new") {
		t.Errorf("after a bad change: got changed %t, %v, new %t", changed, err, lets("new"))
	}
}

func TestIdentityHash(t *testing.T) {
	ann := (&Identity{Method: "basic", Name: "ann"}).Hash()
	if len(ann) != 32 || strings.Contains(ann, "ann") {
		t.Errorf("got %q, want 32 hex digits", ann)
	}
	for name, other := range map[string]*Identity{"name": {Method: "basic", Name: "bob"}, "method": {Method: "jwt", Name: "ann"}} {
		if other.Hash() == ann {
			t.Errorf("another %s: got the same hash", name)
		}
	}
	if got := (*Identity)(nil).Hash(); got != "" {
		t.Errorf("nobody: got %q, want nothing", got)
	}
}

func TestCheck(t *testing.T) {
	var asked atomic.Pointer[http.Header]
	var answer atomic.Pointer[func(http.ResponseWriter, *http.Request)]
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(new(r.Header.Clone()))
		(*answer.Load())(w, r)
	}))
	defer service.Close()
	check := &Check{
		URL: service.URL + "/verify?secret=s", Headers: []string{"Cookie"}, Copy: []string{"X-Role"}, Name: "X-User",
		Timeout: 200 * time.Millisecond, Client: service.Client(),
	}
	check.Client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	a := &Authenticator{Check: check}
	for name, tc := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request)
		want   string
		role   string
	}{
		"yes": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-User", "ann")
			w.Header().Set("X-Role", "admin")
		}, "check ann", "admin"},
		"yes, says nothing": {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) }, "nobody", ""},
		"401": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			w.WriteHeader(401)
		}, "unauthenticated Bearer", ""},
		"403":        {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403) }, "forbidden", ""},
		"500":        {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) }, "internal", ""},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Location", "/x"); w.WriteHeader(302) }, "internal", ""},
		"too slow":   {func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "internal", ""},
	} {
		t.Run(name, func(t *testing.T) {
			answer.Store(&tc.answer)
			in, err := a.Admit(t.Context(), shown("/chat?room=1", "Cookie: c=1", "Authorization: Basic x", "X-Role: root", "X-Authenticated-Identity: root"))
			if told := told(in, err); told != tc.want {
				t.Errorf("got %s, want %s", told, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, which shows the URL", err)
			}
			for name, want := range map[string]string{
				"Cookie": "c=1", "Authorization": "", "X-Forwarded-Uri": "/chat?room=1", "X-Forwarded-Host": "example.com",
				"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7", "X-Forwarded-Method": "GET", "X-Authenticated-Identity": "",
			} {
				if value := asked.Load().Get(name); value != want {
					t.Errorf("%s: got %q, want %q", name, value, want)
				}
			}
			if err == nil {
				if role := in.Forward.Header.Get("X-Role"); role != tc.role {
					t.Errorf("to the upstream: got role %q, want %q", role, tc.role)
				}
			}
		})
	}
}

// A client that leaves while it is asked about is no fault of the service.
func TestCheckedClientLeaves(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer service.Close()
	a := &Authenticator{Check: &Check{URL: service.URL, Timeout: time.Minute, Client: service.Client()}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Admit(ctx, shown("/")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
}

// The check is asked in addition to other methods, and again about open connections.
func TestCheckBesideAKey(t *testing.T) {
	allowed, asked := true, 0
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if got := r.Header.Get("X-Authenticated-Identity"); got != "pump" {
			t.Errorf("got identity %q, want pump", got)
		}
		if !allowed {
			w.WriteHeader(403)
		}
	}))
	defer service.Close()
	keys, err := OpenAPIKeys(keep(t, "pump:"+digest("k1")), TokenSource{"header", "X-API-Key"})
	if err != nil {
		t.Fatal(err)
	}
	a := &Authenticator{Methods: []Method{keys}, Check: &Check{URL: service.URL, Timeout: time.Second, Interval: time.Minute, Client: service.Client()}}
	if got := told(a.Admit(t.Context(), shown("/", "X-API-Key: k2"))); got != "unauthenticated" || asked != 0 {
		t.Errorf("a wrong key: got %s, asked %d times; want unauthenticated, unasked", got, asked)
	}
	in, err := a.Admit(t.Context(), shown("/", "X-API-Key: k1"))
	if told := told(in, err); told != "api_key pump" || in.Interval != time.Minute {
		t.Fatalf("got %s, want api_key pump, asked every minute", told)
	}
	if err := in.Again(t.Context()); err != nil {
		t.Errorf("again: got %v", err)
	}
	allowed = false
	if err := in.Again(t.Context()); told(nil, err) != "forbidden" {
		t.Errorf("again: got %v, want forbidden", err)
	}
}
