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

// source is what a stream tells.
type source[T any] struct {
	queue    <-chan T
	describe func(T) any

	ended <-chan struct{} // closed when no more comes; nil: there is no end
	last  func() any      // told then
}

// stream sends events over a WebSocket as they happen, each as a text message. A client that takes them too slowly
// misses some, and is told how many.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	if s.Events == nil {
		notFound(w, r)
		return
	}
	c, done := s.openStream(w, r)
	if c == nil {
		return
	}
	defer done()
	sub := s.Events.subscribe()
	defer s.Events.unsubscribe(sub)
	feed(s, c, source[*event]{queue: sub.queue, describe: func(v *event) any {
		d := v.describe()
		d.Dropped = sub.dropped.Swap(0)
		return d
	}})
}

// openStream makes a WebSocket of a request, or answers why not and returns nil. It is one of the streams until done.
func (s *Server) openStream(w http.ResponseWriter, r *http.Request) (c *websocket.Conn, done func()) {
	if !websocket.IsWebSocketUpgrade(r) {
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		problem{Status: http.StatusUpgradeRequired, Detail: "this is a WebSocket"}.write(w)
		return nil, nil
	}
	if !s.enterStream() {
		problem{Status: http.StatusServiceUnavailable, Detail: "there are enough streams, or the process ends"}.write(w)
		return nil, nil
	}
	up := websocket.Upgrader{HandshakeTimeout: streamPatience, CheckOrigin: func(*http.Request) bool { return true }} // the guard has
	c, err := up.Upgrade(w, r, nil)
	if err != nil { // gorilla has answered
		s.leaveStream()
		return nil, nil
	}
	c.SetReadLimit(streamBytes)
	return c, func() {
		c.Close()
		s.leaveStream()
	}
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

func (s *Server) leaveStream() {
	s.streams.Add(-1)
	s.streaming.Done()
}

// feed sends until there is no more, the client leaves or the server closes.
func feed[T any](s *Server, c *websocket.Conn, from source[T]) {
	left := make(chan struct{})
	go func() {
		defer close(left)
		listen(c)
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
		case v := <-from.queue:
			err = tell(c, from.describe(v))
		case <-ping.C:
			err = c.WriteControl(websocket.PingMessage, nil, time.Now().Add(streamPatience))
		case <-from.ended:
			from.finish(c)
			return
		case <-left:
			return
		case <-s.ending():
			bid(c, websocket.CloseGoingAway, "the admin port closes")
			return
		}
		if err != nil {
			return
		}
	}
}

// listen reads until the client leaves, or is silent for longer than a ping and its pong take.
func listen(c *websocket.Conn) {
	heard := func(string) error { return c.SetReadDeadline(time.Now().Add(streamPing + streamPatience)) }
	heard("")
	c.SetPongHandler(heard)
	for {
		if _, _, err := c.NextReader(); err != nil {
			return
		}
	}
}

// finish sends what is left.
func (from source[T]) finish(c *websocket.Conn) {
	for len(from.queue) > 0 {
		if tell(c, from.describe(<-from.queue)) != nil {
			return
		}
	}
	if tell(c, from.last()) == nil {
		bid(c, websocket.CloseNormalClosure, "this was all")
	}
}

func tell(c *websocket.Conn, document any) error {
	c.SetWriteDeadline(time.Now().Add(streamPatience))
	return c.WriteJSON(document)
}

// bid says good-bye.
func bid(c *websocket.Conn, code int, reason string) {
	c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Now().Add(closeTimeout))
}
