package proxy

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"wsproxy/lifecycle"
	"wsproxy/proxy/relay"
)

func TestSmoke(t *testing.T) {
	up := websocket.Upgrader{}
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		for {
			mt, b, err := c.ReadMessage()
			if err != nil {
				return
			}
			c.WriteMessage(mt, b)
		}
	}))
	defer echo.Close()
	reg := &lifecycle.Registry{}
	eng := &relay.Goroutines{}
	s := &Server{Registry: reg, Engine: eng, Routes: []*Route{{Name: "r", Match: "/", Upstream: Upstream{Name: "u", Pick: func(tried []string) (Target, func(), bool) {
		return Target{Name: "t", Host: "t", Dial: func(ctx context.Context) (net.Conn, error) {
			c, err := net.Dial("tcp", echo.Listener.Addr().String())
			if err != nil {
				return nil, err
			}
			ctx, st := lifecycle.FromContext(ctx).Begin(ctx, &lifecycle.Step{Phase: lifecycle.PhaseConnect})
			st.End(ctx, nil)
			return relay.NewConn(c), nil
		}}, func() {}, len(tried) == 0
	}}}}}
	if err := s.Compile(); err != nil {
		t.Fatal(err)
	}
	l, _ := net.Listen("tcp", "127.0.0.1:0")
	go s.Serve(Listener{Listener: l})
	c, _, err := websocket.DefaultDialer.Dial("ws://"+l.Addr().String()+"/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		m := make([]byte, i*1000)
		c.WriteMessage(websocket.BinaryMessage, m)
		_, b, err := c.ReadMessage()
		if err != nil || len(b) != len(m) {
			t.Fatal(err, len(b))
		}
	}
	c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, "bye"), time.Now().Add(time.Second))
	_, _, err = c.ReadMessage()
	fmt.Println(err)
	c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	fmt.Println(eng.Wait(ctx))
	s.Close()
	fmt.Printf("%+v\n", reg.Snapshot())
}
