package admin

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/internal/memnet"
	"wsproxy/lifecycle"
)

func TestIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := start(t, new(Server))
		_, body := v.get("/")
		golden(t, "index.json", body)
	})
}

func TestNoSuchPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := start(t, new(Server))
		for _, path := range []string{"/nowhere", "/api", "/api/connections/nobody", "/metrics", "/healthz/x"} {
			if got := decode[problem](v, path, 404); got.Title != "Not Found" || got.Status != 404 || got.Detail == "" {
				t.Errorf("%s: got %+v", path, got)
			}
		}
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := start(t, &Server{Metrics: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "up 1\n") })})
		if _, body := v.get("/metrics"); string(body) != "up 1\n" {
			t.Errorf("got %q", body)
		}
	})
}

func TestPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		begin := false
		v := start(t, &Server{Log: slog.New(slog.NewTextHandler(&log, nil)), Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			if begin {
				w.Write([]byte("half an ans"))
				http.NewResponseController(w).Flush()
			}
			panic("gatherer broken")
		})})
		if got := decode[problem](v, "/metrics", 500); got.Status != 500 || got.Detail != "" {
			t.Errorf("got %+v", got)
		}
		if text := log.String(); !strings.Contains(text, "gatherer broken") || !strings.Contains(text, "server_test.go") {
			t.Errorf("the log has no panic with its stack: %s", text)
		}
		begin = true
		c := v.dial()
		defer c.Close()
		fmt.Fprint(c, "GET /metrics HTTP/1.1\r\nHost: "+address+"\r\n\r\n")
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(answer.Body); err == nil {
			t.Error("the answer looks complete")
		}
		decode[problem](v, "/nowhere", 404) // it goes on
	})
}

func TestHangingClientsDoNotHoldUpClose(t *testing.T) {
	begun := "GET / HTTP/1.1\r\nHost: " + address + "\r\n"
	clients := map[string]struct {
		sends  string
		within time.Duration
	}{
		"silent":          {"", closeTimeout},
		"half a request":  {begun, closeTimeout},
		"reads nothing":   {strings.ReplaceAll(begun, " / ", " /metrics ") + "\r\n", closeTimeout},
		"waits for trace": {strings.ReplaceAll(begun, " / ", " /debug/pprof/heap?seconds=200 ") + "\r\n", closeTimeout},
	}
	for name, tc := range clients {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &Server{Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 1<<20)) })}
				v := start(t, s)
				c := v.dial()
				defer c.Close()
				io.WriteString(c, tc.sends)
				synctest.Wait()
				before := time.Now()
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				if took := time.Since(before); took > tc.within {
					t.Errorf("took %s, want %s at most", took, tc.within)
				}
			})
		})
	}
}

func TestHangingClientsAreCutOff(t *testing.T) {
	for name, tc := range map[string]struct {
		sends  string
		within time.Duration
	}{
		"silent":         {"", headerTimeout},
		"half a request": {"GET / HTTP/1.1\r\n", headerTimeout},
		"reads nothing":  {"GET /metrics HTTP/1.1\r\nHost: " + address + "\r\n\r\n", writeTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := start(t, &Server{Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 1<<20)) })})
				c := v.dial()
				defer c.Close()
				io.WriteString(c, tc.sends)
				time.Sleep(tc.within)
				synctest.Wait()
				c.SetReadDeadline(time.Now().Add(time.Nanosecond))
				if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "timeout") {
					t.Errorf("still open after %s", tc.within)
				}
			})
		})
	}
}

func TestCloseGivesUpOnHandlersThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := &Server{Metrics: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release })}
		v := start(t, s)
		c := v.dial()
		defer c.Close()
		io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: "+address+"\r\n\r\n")
		synctest.Wait()
		before := time.Now()
		if err := s.Close(); err == nil {
			t.Error("got nil, want an error that tells of the request")
		}
		if took := time.Since(before); took != 2*closeTimeout {
			t.Errorf("took %s, want %s", took, 2*closeTimeout)
		}
		close(release)
	})
}

func TestAnswersUnderWayAreFinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(closeTimeout / 2)
			io.WriteString(w, "up 1\n")
		})}
		v := start(t, s)
		time.AfterFunc(time.Millisecond, func() { s.Close() })
		if _, body := v.get("/metrics"); string(body) != "up 1\n" {
			t.Errorf("got %q", body)
		}
	})
}

func TestStartAndCloseMayBeRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n memnet.Network
		listen := func() net.Listener {
			l, err := n.Listen("127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		closed := func(l net.Listener) bool {
			c, err := n.Dial(t.Context(), l.Addr().String())
			if err == nil {
				c.Close()
			}
			return err != nil
		}
		never := new(Server)
		for range 2 {
			if err := never.Close(); err != nil {
				t.Error(err)
			}
		}
		late := listen()
		if never.Start(late); !closed(late) {
			t.Error("a server that was closed before its start serves")
		}
		s := new(Server)
		first, second := listen(), listen()
		s.Start(first)
		s.Start(first)
		s.Start(second)
		if closed(first) || !closed(second) {
			t.Errorf("got closed %t and %t, want the first served and the second closed", closed(first), closed(second))
		}
		for range 2 {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		if !closed(first) {
			t.Error("Close leaves the listener open")
		}
	})
}

// TestProfiles is outside of a bubble and on a real listener, as the profiler is the runtime's.
func TestProfiles(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Registry: new(lifecycle.Registry), System: new(lifecycle.System)}
	s.Start(l)
	defer s.Close()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for path, want := range map[string]int{
		"":                       200,
		"heap":                   200,
		"goroutine?debug=2":      200,
		"cmdline":                200,
		"symbol":                 200,
		"trace?seconds=0.01":     200,
		"profile?seconds=1":      200,
		"nothing":                404,
		"profile?seconds=301":    400,
		"profile?seconds=forty":  400,
		"profile?seconds=-1":     400,
		"heap?seconds=1e300":     400,
		"heap?seconds=NaN":       400,
		"goroutine?seconds=%2B1": 200,
	} {
		answer, err := client.Get("http://" + l.Addr().String() + "/debug/pprof/" + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode != want || err != nil || len(body) == 0 {
			t.Errorf("%s: got %d, %d bytes, %v, want %d", path, answer.StatusCode, len(body), err, want)
		}
	}
}
