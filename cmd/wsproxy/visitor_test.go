package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A WebSocket handshake with the key of RFC 6455 §1.3, and its answer.
const (
	accepted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
	// With a mask of zeros.
	messageFrame = "\x81\x85\x00\x00\x00\x00hello"
	pingFrame    = "\x89\x80\x00\x00\x00\x00"
	closeFrame   = "\x88\x82\x00\x00\x00\x00\x03\xe8"
)

func upgradeOf(path string, lines ...string) string {
	all := append([]string{
		"GET " + path + " HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
	}, lines...)
	return strings.Join(all, "\r\n") + "\r\n\r\n"
}

func connectTo(target string) string { return "CONNECT " + target + " HTTP/1.1\r\nHost: x\r\n\r\n" }

// socksTo is SOCKS5's request by a name.
func socksTo(target string) string {
	host, port, _ := net.SplitHostPort(target)
	n, _ := strconv.Atoi(port)
	b := append([]byte{5, 1, 0, 3, byte(len(host))}, host...)
	return string(binary.BigEndian.AppendUint16(b, uint16(n)))
}

// visitor is a client of whims: it says one thing after another, each when the one before was answered, and goes as
// it likes.
type visitor struct {
	to   string
	tls  bool
	says []string
}

func (v visitor) visit(dice *rand.Rand) {
	raw, err := net.DialTimeout("tcp", v.to, stormStay)
	if err != nil {
		return
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(stormStay/2 + time.Duration(dice.Int64N(int64(stormStay)))))
	c := raw
	if v.tls {
		c = tls.Client(raw, &tls.Config{InsecureSkipVerify: true}) // the peer is this process
	}
	hasty := dice.IntN(10) == 0
	if hasty {
		raw.SetDeadline(time.Now().Add(time.Duration(dice.IntN(20)) * time.Millisecond))
	}
	var answer []byte
	for _, text := range v.says {
		if text == "" {
			break
		}
		if answer, err = ask(c, text); err != nil {
			break
		}
	}
	if bytes.HasPrefix(answer, []byte("HTTP/1.1 101")) {
		v.chat(c, dice)
	}
	switch tcp := raw.(*net.TCPConn); dice.IntN(4) {
	case 0:
		tcp.SetLinger(0)
	case 1:
		tcp.CloseWrite()
		io.Copy(io.Discard, raw) // for as long as the visitor stays, at most
	}
}

// ask returns what comes first.
func ask(c net.Conn, text string) ([]byte, error) {
	if _, err := io.WriteString(c, text); err != nil {
		return nil, err
	}
	b := make([]byte, 4<<10)
	n, err := c.Read(b)
	return b[:n], err
}

// chat sends some frames, good and bad, and maybe ends the WebSocket as one should.
func (v visitor) chat(c net.Conn, dice *rand.Rand) {
	for range dice.IntN(5) {
		if _, err := ask(c, []string{messageFrame, messageFrame, messageFrame, pingFrame}[dice.IntN(4)]); err != nil {
			return
		}
	}
	switch dice.IntN(4) {
	case 0, 1:
		io.WriteString(c, closeFrame)
		io.Copy(io.Discard, c) // the proxy is not long in closing
	case 2:
		ask(c, "\x83\x80\x00\x00\x00\x00") // of a type that there is not
	}
}

// holder is a client that stays.
type holder struct{ net.Conn }

// hold says what it is given; behind each text is whether an answer is to be awaited.
func hold(t *testing.T, to string, script ...any) *holder {
	t.Helper()
	c, err := net.Dial("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	for i := 0; i < len(script); i += 2 {
		if script[i+1] == 0 {
			io.WriteString(c, script[i].(string))
		} else if got, err := ask(c, script[i].(string)); err != nil {
			t.Fatalf("%q: got %q, %v", script[i], got, err)
		}
	}
	return &holder{c}
}

// serveWhims takes connections and treats each in one of the ways given.
func serveWhims(t *testing.T, seed uint64, ways ...func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dice := rand.New(rand.NewPCG(seed, 0))
	var mu sync.Mutex
	open := make(map[net.Conn]bool)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			way := ways[dice.IntN(len(ways))]
			mu.Lock()
			open[c] = true
			mu.Unlock()
			serving.Go(func() {
				way(c)
				c.Close()
				mu.Lock()
				delete(open, c)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return l.Addr().String()
}

// readHead reads a request, whatever it is.
func readHead(c net.Conn) (*bufio.Reader, *http.Request, error) {
	c.SetDeadline(time.Now().Add(patience))
	in := bufio.NewReader(c)
	r, err := http.ReadRequest(in)
	return in, r, err
}

// The ways of serveWhims.
func answers(text string) func(net.Conn) {
	return func(c net.Conn) {
		if in, _, err := readHead(c); err == nil {
			io.WriteString(c, text)
			in.WriteTo(io.Discard)
		}
	}
}

func resets(c net.Conn) {
	readHead(c)
	c.(*net.TCPConn).SetLinger(0)
}

// late answers when nobody waits any more.
func late(c net.Conn) {
	if _, _, err := readHead(c); err == nil {
		c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		io.Copy(io.Discard, c)
		io.WriteString(c, accepted)
	}
}

func hangs(c net.Conn) {
	c.SetDeadline(time.Now().Add(patience))
	io.Copy(io.Discard, c)
}

// accepts speaks WebSocket as far as it goes by sending everything back, unmasked or not.
func accepts(c net.Conn) {
	if _, _, err := readHead(c); err == nil {
		io.WriteString(c, accepted+"\x81\x02hi")
		io.Copy(io.Discard, c)
	}
}

// joins is an HTTP proxy that does its work.
func joins(c net.Conn) {
	in, r, err := readHead(c)
	if err != nil || r.Method != http.MethodConnect {
		return
	}
	to, err := net.DialTimeout("tcp", r.RequestURI, patience)
	if err != nil {
		return
	}
	defer to.Close()
	to.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
	var back sync.WaitGroup
	back.Go(func() {
		io.Copy(c, to)
		c.(*net.TCPConn).CloseWrite()
	})
	in.WriteTo(to)
	to.(*net.TCPConn).CloseWrite()
	back.Wait()
}

// closedPort is an address that nobody listens on.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
