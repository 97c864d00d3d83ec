package admin

import (
	"net/http"
	"time"

	"wsproxy/lifecycle"
)

// tapDocument tells of a frame of a connection, or of its end.
type tapDocument struct {
	At      timestamp      `json:"at"`
	Frame   *frameDocument `json:"frame"`   // null at the end
	Close   *closeDocument `json:"close"`   // why the connection ended; null before, and if it never opened
	Dropped uint64         `json:"dropped"` // frames that the tap's client was too slow for, since the last one it got
}

// frameDocument is a frame's header. Of a payload there is its length.
type frameDocument struct {
	Direction string `json:"direction"`
	From      string `json:"from"` // client, upstream, or proxy for pings and Close frames of our own
	Opcode    string `json:"opcode"`
	Fin       bool   `json:"fin"`
	RSV1      bool   `json:"rsv1"` // compressed, with permessage-deflate
	RSV2      bool   `json:"rsv2"`
	RSV3      bool   `json:"rsv3"`
	Masked    bool   `json:"masked"`
	Length    uint64 `json:"length"`
}

// tap sends the headers of a connection's frames over a WebSocket as they pass, each as a text message, until the
// connection ends.
func (s *Server) tap(w http.ResponseWriter, r *http.Request) {
	c := s.Registry.Get(r.PathValue("id"))
	if c == nil {
		problem{Status: http.StatusNotFound, Detail: "no live connection has this id"}.write(w)
		return
	}
	if f := c.Facts(); f.Tunnel.Opaque() || f.Framing == "off" {
		problem{Status: http.StatusConflict, Detail: "the frames of this connection are not looked at"}.write(w)
		return
	}
	tap := c.Tap()
	if tap == nil {
		problem{Status: http.StatusServiceUnavailable, Detail: "this connection has enough taps"}.write(w)
		return
	}
	defer tap.Close()
	stream, done := s.openStream(w, r)
	if stream == nil {
		return
	}
	defer done()
	s.log().Warn("a connection is tapped", "connection.id", c.ID, "operator", r.RemoteAddr)
	told := 0
	feed(s, stream, source[lifecycle.Frame]{
		queue: tap.Frames(), ended: tap.Ended(),
		describe: func(f lifecycle.Frame) any {
			told++
			return tapDocument{At: timestamp(f.At), Frame: describeFrame(f), Dropped: tap.Dropped()}
		},
		last: func() any {
			return tapDocument{At: timestamp(time.Now()), Close: describeClose(c.Closing()), Dropped: tap.Dropped()}
		},
	})
	s.log().Warn("a connection is no longer tapped", "connection.id", c.ID, "operator", r.RemoteAddr, "frames", told)
}

func describeFrame(f lifecycle.Frame) *frameDocument {
	from := f.Direction.From().String()
	if f.Own {
		from = lifecycle.InitiatorProxy.String()
	}
	return &frameDocument{
		Direction: f.Direction.String(), From: from, Opcode: f.Opcode, Fin: f.Bits&0x80 != 0,
		RSV1: f.Bits&0x40 != 0, RSV2: f.Bits&0x20 != 0, RSV3: f.Bits&0x10 != 0, Masked: f.Masked, Length: f.Length,
	}
}
