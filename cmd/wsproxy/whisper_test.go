package main

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"wsproxy/internal/otlpsink"
)

// canaries makes secrets up, each by where it stands.
type canaries struct {
	mu  sync.Mutex
	all map[string]string
}

func (c *canaries) of(place string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all[place] == "" {
		c.all[place] = fmt.Sprintf("canary%02d-%s", len(c.all), strings.ReplaceAll(place, " ", "-"))
	}
	return c.all[place]
}

// file has a secret as the configuration refers to it.
func (c *canaries) secretFile(t *testing.T, place, before string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(before+c.of(place)), 0o600); err != nil {
		t.Fatal(err)
	}
	return "file:" + file
}

// within are the secrets that a text has, in whatever form.
func (c *canaries) within(text []byte) (found []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for place, secret := range c.all {
		forms := []string{secret, url.QueryEscape(secret), url.PathEscape(secret), hex.EncodeToString([]byte(secret))}
		for _, user := range []string{"", "u:", "guest:", "egress:"} {
			forms = append(forms, base64.StdEncoding.EncodeToString([]byte(user+secret)), base64.RawURLEncoding.EncodeToString([]byte(user+secret)))
		}
		for _, form := range forms {
			if at := strings.Index(string(text), form); at >= 0 {
				found = append(found, fmt.Sprintf("%s: %q", place, text[max(at-150, 0):min(at+100, len(text))]))
				break
			}
		}
	}
	return found
}

// whisper is a proxy of both modes whose clients, upstreams, egress and configuration have secrets.
type whisper struct {
	*rig
	canaries
	sink    *otlpsink.Sink
	stderr  string // what is written there
	heard   *heard
	forward string
	targets map[string]string

	mu      sync.Mutex
	answers []byte // that clients got of wsproxy itself
}

// heard is what reached upstreams and the egress: the secrets were on their way.
type heard struct {
	mu  sync.Mutex
	all []byte
}

func (h *heard) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, b...)
	return len(b), nil
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return string(h.all)
}

// says answers the head of a request with text, and writes down what it hears.
func (h *heard) says(text string) func(net.Conn) {
	return func(c net.Conn) {
		c.SetDeadline(time.Now().Add(patience))
		b := make([]byte, 16<<10)
		n, err := c.Read(b)
		h.Write(b[:n])
		if err == nil {
			io.WriteString(c, text)
			io.Copy(h, c)
		}
	}
}

// redirectStderr has what the process writes there go to a file, until the test ends.
func redirectStderr(t *testing.T) (file string) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	former := os.Stderr
	os.Stderr = f
	t.Cleanup(func() { os.Stderr = former; f.Close() })
	return f.Name()
}

func newWhisper(t *testing.T) *whisper {
	t.Helper()
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
	t.Setenv("OTEL_BLRP_SCHEDULE_DELAY", "50")
	w := &whisper{canaries: canaries{all: make(map[string]string)}, stderr: redirectStderr(t), sink: otlpsink.Start(), heard: new(heard), targets: make(map[string]string)}
	t.Cleanup(w.sink.Close)
	for name, text := range map[string]string{
		"echo": accepted, "refuses": "HTTP/1.1 403 No\r\nSet-Cookie: a=" + w.of("set-cookie") + fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n", len(w.of("answer"))) + w.of("answer"),
		"garbage": "HTTP/1.1 101 " + w.of("bad status line") + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + w.of("bad accept") + "\r\n\r\n",
		"worse":   w.of("no answer at all") + "\r\n\r\n", "odd": "HTTP/1.1 101 Yes\r\n" + w.of("no header of an upstream") + "\r\n\r\n",
		"number": "HTTP/1.1 " + w.of("no status") + "\r\n\r\n", "version": w.of("no version") + " 101 Yes\r\n\r\n", "closes": accepted + string([]byte{0x88, byte(2 + len(w.of("upstream close reason"))), 0x0f, 0xa1}) + w.of("upstream close reason"),
		"breaks": accepted + "\xf3" + string(rune(len(w.of("bad frame")))) + w.of("bad frame"), "egress": "HTTP/1.1 407 Who\r\nX-A: " + w.of("egress answer") + "\r\nContent-Length: 0\r\n\r\n",
	} {
		w.targets[name] = serveWhims(t, 0, w.heard.says(text))
	}
	w.rig = newRig(t, func(cfg object) { w.configure(t, cfg) })
	w.forward = w.listeners[1].Addr().String()
	return w
}

func (w *whisper) configure(t *testing.T, cfg object) {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(w.of("password")), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	htpasswd := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(htpasswd, fmt.Appendf(nil, "guest:%s\n", hash), 0o600); err != nil {
		t.Fatal(err)
	}
	var routes, upstreams []object
	for name, address := range w.targets {
		r := route(name, "upstream", name, "match", "/"+name+"/", "identity", "cookie:session", "timeouts", object{"close": "20ms"})
		if name == "egress" {
			address, r["egress"] = w.targets["echo"], "corp"
		}
		routes, upstreams = append(routes, r), append(upstreams, object{"name": name, "targets": []string{"ws://" + address}, "passive": "off"})
	}
	routes = append(routes,
		route("locked", "upstream", "echo", "match", "/locked/", "auth", object{"basic": object{"htpasswd": htpasswd}, "realm": "here"}),
		route("sticky", "upstream", "echo", "match", "/sticky/", "sticky", object{"cookie": "at", "secret": w.secretFile(t, "sticky secret", "")}))
	cfg["routes"], cfg["upstreams"] = routes, upstreams
	cfg["egress"] = []object{{"name": "corp", "url": "http://" + w.targets["egress"], "credentials": w.secretFile(t, "egress password", "egress:")}}
	cfg["listeners"] = []object{{"address": "127.0.0.1:0"}, {"address": "127.0.0.1:0", "mode": "forward"}}
	cfg["forward"] = object{"allow": []string{"*", "127.0.0.0/8"}, "auth": object{"htpasswd": htpasswd}, "timeouts": object{"close": "20ms"}}
	cfg["admin"] = object{"address": "127.0.0.1:0", "token": w.secretFile(t, "admin token", "")}
	cfg["log"] = object{"level": "debug", "opened": true, "format": "json"}
	cfg["telemetry"] = object{
		"otlp":    object{"endpoint": w.sink.URL, "protocol": "http/protobuf", "headers": object{"x-key": w.secretFile(t, "OTLP header", "")}},
		"metrics": object{"interval": "1s"},
	}
}

// headers are a client's, with secrets wherever clients have them.
func (w *whisper) headers() []string {
	return []string{
		"Authorization: Bearer " + w.of("bearer"), "Cookie: session=" + w.of("cookie") + "; at=" + w.of("sticky cookie"), "X-Api-Key: " + w.of("api key"),
		"Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("guest:"+w.of("password"))), "Referer: https://x/?" + w.of("referer"),
		"Baggage: user=" + w.of("baggage"), "X-Forwarded-For: " + w.of("forwarded for"),
	}
}

// tell says one thing after another, then a message and a close reason if that is a WebSocket, and keeps the answers.
func (w *whisper) tell(to string, says ...string) {
	c, err := net.Dial("tcp", to)
	if err != nil {
		w.t.Error(err)
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	var answer []byte
	for _, text := range says {
		answer, err = ask(c, text)
		w.mu.Lock()
		w.answers = append(w.answers, answer...)
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
	if strings.HasPrefix(string(answer), "HTTP/1.1 101") {
		for opcode, place := range map[byte]string{0x81: "payload", 0x89: "ping"} {
			c.Write(append([]byte{opcode, 0x80 | byte(len(w.of(place))), 0, 0, 0, 0}, w.of(place)...))
		}
		reason := w.of("close reason")
		c.Write(append([]byte{0x88, 0x80 | byte(2+len(reason)), 0, 0, 0, 0, 0x0f, 0xa0}, reason...))
		c.(*net.TCPConn).CloseWrite()
	} else {
		c.(*net.TCPConn).CloseWrite()
	}
	io.Copy(io.Discard, c)
}

// reverse goes every way that a route has, well and badly.
func (w *whisper) reverse() {
	to, q := w.first.String(), "?token="+w.of("query")
	for _, name := range append(slices.Collect(maps.Keys(w.targets)), "locked", "sticky", "nowhere") {
		w.tell(to, upgradeOf("/"+name+"/x"+q, w.headers()...))
		w.tell(to, strings.Replace(upgradeOf("/"+name+"/x"+q, w.headers()...), "Version: 13", "Version: 12", 1))
	}
	basic := func(password string) string {
		return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("guest:"+password))
	}
	w.tell(to, upgradeOf("/locked/x"+q, basic(w.of("password"))))
	w.tell(to, upgradeOf("/locked/x"+q, basic(w.of("wrong password"))))
	w.tell(to, upgradeOf("/echo/x"+q, "Origin: https://u:"+w.of("origin")+"@evil.example"))
	w.tell(to, strings.Replace(upgradeOf("/echo/x"+q), "Host: x", "Host: u:"+w.of("host")+"@x", 1))
	for _, head := range []string{"GET /echo/x" + q + " HTTP/1.1", "GET /echo/x" + q, w.of("request line") + " / HTTP/9.9", "GET http://u:" + w.of("userinfo") + "@x/" + q + " HTTP/1.1"} {
		w.tell(to, head+"\r\nHost: x\r\nConnection: close\r\n"+strings.Join(w.headers(), "\r\n")+"\r\n\r\n")
		w.tell(to, head+"\r\nHost: x\r\n"+strings.Join(w.headers(), "\r\n")+"\r\nno header "+w.of("no header")+"\r\n\r\n")
	}
}

// forwarded goes every way that a forward listener has.
func (w *whisper) forwarded() {
	auth := "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("guest:"+w.of("password"))) + "\r\n"
	wrong := "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("guest:"+w.of("wrong proxy password"))) + "\r\n"
	connect := func(target, auth string) string {
		return "CONNECT " + target + " HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n"
	}
	inside := upgradeOf("/x?token="+w.of("query in a tunnel"), "Authorization: Bearer "+w.of("bearer in a tunnel"), "Cookie: a="+w.of("cookie in a tunnel"))
	for _, name := range slices.Sorted(maps.Keys(w.targets)) {
		target := w.targets[name]
		ways := []string{auth}
		if name == "echo" {
			ways = append(ways, wrong, "", "Proxy-Authorization: Bearer "+w.of("proxy bearer")+"\r\n")
		}
		for _, a := range ways {
			w.tell(w.forward, connect(target, a), inside)
			w.tell(w.forward, absoluteUpgrade("ws://"+target+"/x?"+w.of("query in absolute form"), a))
			w.tell(w.forward, absoluteUpgrade("ws://u:"+w.of("userinfo in absolute form")+"@"+target+"/", a))
			w.tell(w.forward, "GET http://u:"+w.of("userinfo in absolute form")+"@"+target+"/?"+w.of("query in absolute form")+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"+a+"\r\n")
		}
		for _, password := range []string{"password", "wrong SOCKS password"} {
			w.tell(w.forward, "\x05\x01\x02", "\x01\x05guest"+string(rune(len(w.of(password))))+w.of(password), socksTo(target), inside)
		}
	}
	w.tell(w.forward, connect("u:"+w.of("userinfo of CONNECT")+"@x:80", auth))
	w.tell(w.forward, connect("x:"+w.of("port of CONNECT"), auth))
	w.tell(w.forward, connect(w.targets["echo"], auth), w.of("payload of a tunnel")+"\r\n\r\n")
	w.tell(w.forward, connect(w.targets["echo"], auth+"Content-Length: 30\r\n"), w.of("body of CONNECT"))
}

func absoluteUpgrade(target, auth string) string {
	return strings.Replace(upgradeOf(target), "\r\n\r\n", "\r\n"+auth+"\r\n", 1)
}
