package demo

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const (
	chatBeat   = time.Second
	chatGrace  = 2 * time.Second // for the upstream's part of a close
	chatReturn = 2 * time.Second // before one that was cut off comes back
)

// chatting are the paths of the clients that stay.
var chatting = [...]string{"/direct", "/tls", "/connect", "/socks5"}

// Chat has clients at the proxy at base that say something every second, until ctx ends. They come back
// when they are cut off. It returns when all have left.
func (c *Cast) Chat(ctx context.Context, base string) {
	var all sync.WaitGroup
	for i, path := range chatting {
		all.Go(func() {
			first := chatBeat * time.Duration(i) / time.Duration(len(chatting)) // not all in step
			for pause := first; wait(ctx, pause); pause = chatReturn {
				chat(ctx, strings.TrimSuffix(base, "/")+path)
			}
		})
	}
	all.Wait()
}

// chat is one of their connections.
func chat(ctx context.Context, url string) {
	dial, cancel := context.WithTimeout(ctx, playTime)
	defer cancel()
	d := websocket.Dialer{Subprotocols: []string{subprotocol}}
	conn, _, err := d.DialContext(dial, url, http.Header{"User-Agent": {"wsproxy-demo chat"}})
	if err != nil {
		return
	}
	defer conn.Close()
	conn.SetReadLimit(messageLimit)
	over, end := context.WithCancel(ctx)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer end()
		for {
			if _, _, err := conn.NextReader(); err != nil {
				return
			}
		}
	})
	say := func(n int) error {
		conn.SetWriteDeadline(time.Now().Add(patience))
		return conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, "still here: %d", n))
	}
	for n := 1; say(n) == nil && wait(over, chatBeat); n++ {
	}
	bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "bye")
	conn.WriteControl(websocket.CloseMessage, bye, time.Now().Add(chatGrace)) // fails where it was cut off
	conn.NetConn().SetReadDeadline(time.Now().Add(chatGrace))
	reading.Wait()
}
