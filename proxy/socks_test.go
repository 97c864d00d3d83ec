package proxy

import (
	"bytes"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/internal/memnet"
)

// socksHello is all that a client says who knows what it will be answered.
func socksHello(host string, port uint16) string {
	return "\x05\x01\x00" + socksRequest(host, port)
}

func socksRequest(host string, port uint16) string {
	return "\x05\x01\x00\x03" + string(rune(len(host))) + host + string([]byte{byte(port >> 8), byte(port)})
}

func socksLogin(user, password string) string {
	return "\x05\x01\x02\x01" + string(rune(len(user))) + user + string(rune(len(password))) + password
}

const socksOK = "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"

func TestSOCKS(t *testing.T) {
	reply := func(code byte) string { return "\x05" + string(rune(code)) + socksOK[2:] }
	withPassword := func(_ *world, fw *Forward) {
		fw.Authenticate = onlyUser("p")
	}
	for name, c := range map[string]struct {
		raw    string
		change func(*world, *Forward)
		want   string // what the client gets
		ends   string // empty: open
	}{
		"a name":                  {raw: socksHello("a.example", 9000) + "hi", want: "\x05\x00" + socksOK + "hi"},
		"a name in capitals":      {raw: socksHello("A.Example.", 9000) + "hi", want: "\x05\x00" + socksOK + "hi"},
		"IPv4":                    {raw: "\x05\x02\x02\x00\x05\x01\x00\x01\x0a\x00\x01\x01\x23\x28hi", want: "\x05\x00" + socksOK + "hi"},
		"IPv6":                    {raw: "\x05\x01\x00\x05\x01\x00\x04" + string(make([]byte, 10)) + "\xff\xff\x0a\x00\x01\x01\x23\x28hi", want: "\x05\x00" + socksOK + "hi"},
		"a password for nobody":   {raw: socksLogin("any", "one") + socksRequest("a.example", 9000) + "hi", want: "\x05\x02\x01\x00" + socksOK + "hi"},
		"the password":            {raw: socksLogin("u", "p") + socksRequest("a.example", 9000) + "hi", change: withPassword, want: "\x05\x02\x01\x00" + socksOK + "hi"},
		"a wrong password":        {raw: socksLogin("u", "q") + socksRequest("a.example", 9000), change: withPassword, want: "\x05\x02\x01\x01", ends: "rejected 0 unauthenticated"},
		"no password":             {raw: socksHello("a.example", 9000), change: withPassword, want: "\x05\xff", ends: "rejected 0 unauthenticated"},
		"GSSAPI":                  {raw: "\x05\x01\x01", want: "\x05\xff", ends: "rejected 0 request_invalid"},
		"BIND":                    {raw: "\x05\x01\x00\x05\x02\x00\x01\x0a\x00\x01\x01\x23\x28", want: "\x05\x00" + reply(7), ends: "rejected 0 request_invalid"},
		"an address of no type":   {raw: "\x05\x01\x00\x05\x01\x00\x02", want: "\x05\x00" + reply(8), ends: "rejected 0 request_invalid"},
		"a name that is none":     {raw: socksHello("a..example", 9000), want: "\x05\x00" + reply(1), ends: "rejected 0 request_invalid"},
		"an empty name":           {raw: socksHello("", 9000), want: "\x05\x00" + reply(1), ends: "rejected 0 request_invalid"},
		"port 0":                  {raw: socksHello("a.example", 0), want: "\x05\x00" + reply(1), ends: "rejected 0 request_invalid"},
		"SOCKS4 inside":           {raw: "\x05\x01\x00\x04\x01\x00\x50", want: "\x05\x00", ends: "rejected 0 request_invalid"},
		"not allowed":             {raw: socksHello("a.example", 9000), change: denyAddress, want: "\x05\x00" + reply(2), ends: "failed 0 address_denied"},
		"from elsewhere":          {raw: socksHello("a.example", 9000), change: func(_ *world, fw *Forward) { fw.Clients = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }, want: "\x05\x00" + reply(2), ends: "rejected 0 forbidden"},
		"nobody there":            {raw: socksHello("a.example", 1), want: "\x05\x00" + reply(5), ends: "failed 0 connection_refused"},
		"no answer":               {raw: socksHello("a.example", 9000), change: func(w *world, _ *Forward) { w.network.SetPath("10.0.1.1", memnet.Path{BlackHole: true}) }, want: "\x05\x00" + reply(6), ends: "failed 0 connect_timeout"},
		"a head that never comes": {raw: "\x05\x01\x00\x05\x01", want: "\x05\x00", ends: "rejected 0 request_timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, fw := newForwardWorld(t)
				w.targets[0].script = echoing
				if c.change != nil {
					c.change(w, fw)
				}
				w.start()
				p := w.send(c.raw)
				if c.ends != "" {
					p.awaitEnd()
				}
				if got := p.String(); got != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
				if got := w.journal.ends(); got != c.ends {
					t.Errorf("got %q, want %q", got, c.ends)
				}
				p.conn.Close()
				time.Sleep(time.Minute)
				if c.ends == "" && w.journal.ends() != "closed 0 tunnel_end" {
					t.Errorf("got %q, want tunnel_end", w.journal.ends())
				}
				w.settled()
			})
		})
	}
}

func TestSOCKSSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newForwardWorld(t)
		w.targets[0].script = accepting("")
		w.start()
		p := w.connect("")
		for _, b := range []byte(socksHello("a.example", 9000) + request()) {
			p.write(t, string([]byte{b}))
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		if got, want := p.String(), "\x05\x00"+socksOK+switchingBack(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		p.conn.Close()
		time.Sleep(time.Minute)
		if got, want := w.journal.ends(), "closed 101 client_gone"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestForwardUnused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newForwardWorld(t)
		w.start()
		w.connect("").conn.Close()
		w.connect("")
		time.Sleep(headTimeout + time.Second)
		w.connect("")
		w.send("\x05").conn.Close()
		synctest.Wait()
		w.send("\x05")
		w.server.Close()
		synctest.Wait()
		got, first := w.journal.ends(), "unused 0 , unused 0 , failed 0 client_gone, "
		if !strings.HasPrefix(got, first) || !strings.Contains(got, "rejected 0 canceled") || strings.Count(got, "unused") != 3 {
			t.Errorf("got %q, want %q, then one that was canceled and one unused", got, first)
		}
		w.settled()
	})
}

// FuzzSOCKS holds the reader of what a client says to its bounds: it takes no more than a request has,
// and what it takes for one names a target.
func FuzzSOCKS(f *testing.F) {
	f.Add([]byte(socksHello("a.example", 9000))[1:], false)
	f.Add([]byte(socksLogin("u", "p") + socksRequest("a.example", 9000))[1:], true)
	f.Add([]byte("\x01\x00\x05\x01\x00\x04"+strings.Repeat("\x01", 18)), false)
	f.Fuzz(func(t *testing.T, data []byte, secret bool) {
		var check func(user, password string) bool
		if secret {
			check = func(user, password string) bool { return user == "u" && password == "p" }
		}
		in, out := bytes.NewReader(data), &bytes.Buffer{}
		to, err := socksAsked(struct {
			io.Reader
			io.Writer
		}{in, out}, check)
		if taken := len(data) - in.Len(); taken > 3*256+2+4+256+2 {
			t.Errorf("took %d bytes", taken)
		}
		if out.Len() > 2+2+10 {
			t.Errorf("answered with %d bytes", out.Len())
		}
		if err != nil {
			return
		}
		again, err := parseDestination(to.String(), 0)
		if err != nil || again != to {
			t.Errorf("%q: got %v, %v, want it to be read again", to, again, err)
		}
		if secret && !bytes.Contains(data, []byte("\x01u\x01p")) {
			t.Error("let in without the password")
		}
	})
}
