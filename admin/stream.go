package admin

import (
	"net/http"
	"time"

	"github.com/gorilla/websocket"
)

const (
	streamsAtMost  = 64
	streamPing     = 30 * time.Second
	streamPatience = 10 * time.Second // for a write, and for a pong beyond the next ping
	streamBytes    = 4 << 10          // that a client may send at once; nothing is made of it
)

// stream sends events over a WebSocket as they happen, each as a text message. A client that takes them too slowly
// misses some, and is told how many.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	if s.Events == nil {
		notFound(w, r)
		return
	}
	if !websocket.IsWebSocketUpgrade(r) {
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		problem{Status: http.StatusUpgradeRequired, Detail: "this is a WebSocket"}.write(w)
		return
	}
	if !s.enterStream() {
		problem{Status: http.StatusServiceUnavailable, Detail: "there are enough streams, or the process ends"}.write(w)
		return
	}
	defer s.streaming.Done()
	defer s.streams.Add(-1)
	up := websocket.Upgrader{HandshakeTimeout: streamPatience, CheckOrigin: func(*http.Request) bool { return true }} // the guard has
	c, err := up.Upgrade(w, r, nil)
	if err != nil {
		return // gorilla has answered
	}
	defer c.Close()
	c.SetReadLimit(streamBytes)
	s.feed(c)
}

func (s *Server) enterStream() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed != nil || s.streams.Load() >= streamsAtMost {
		return false
	}
	s.streams.Add(1)
	s.streaming.Add(1)
	return true
}

// feed sends until the client leaves or the server closes.
func (s *Server) feed(c *websocket.Conn) {
	sub := s.Events.subscribe()
	defer s.Events.unsubscribe(sub)
	left := make(chan struct{})
	go func() {
		defer close(left)
		heard := func(string) error { return c.SetReadDeadline(time.Now().Add(streamPing + streamPatience)) }
		heard("")
		c.SetPongHandler(heard)
		for {
			if _, _, err := c.NextReader(); err != nil {
				return
			}
		}
	}()
	defer func() {
		c.Close()
		<-left
	}()
	ping := time.NewTicker(streamPing)
	defer ping.Stop()
	for {
		var err error
		select {
		case v := <-sub.queue:
			d := v.describe()
			d.Dropped = sub.dropped.Swap(0)
			c.SetWriteDeadline(time.Now().Add(streamPatience))
			err = c.WriteJSON(d)
		case <-ping.C:
			err = c.WriteControl(websocket.PingMessage, nil, time.Now().Add(streamPatience))
		case <-left:
			return
		case <-s.ending():
			bye := websocket.FormatCloseMessage(websocket.CloseGoingAway, "the admin port closes")
			c.WriteControl(websocket.CloseMessage, bye, time.Now().Add(closeTimeout))
			return
		}
		if err != nil {
			return
		}
	}
}
