package admin

import (
	"net/http"
	"time"

	"wsproxy/lifecycle"
)

// connectionDocument tells of one connection. What is not there, or not known yet, is null.
type connectionDocument struct {
	ID             string          `json:"id"`
	TraceID        *string         `json:"trace_id"`
	Mode           string          `json:"mode"`
	Route          *string         `json:"route"`
	Upstream       *string         `json:"upstream"`
	Target         *string         `json:"target"`
	Egress         *string         `json:"egress"`
	Generation     int             `json:"generation"`
	Phase          string          `json:"phase"`
	OpenedAt       timestamp       `json:"opened_at"` // accepted; all else counts from here
	Age            float64         `json:"age"`
	Client         string          `json:"client"`
	Legs           legsDocument    `json:"legs"`
	Subprotocol    *string         `json:"subprotocol"`
	Compression    bool            `json:"compression"`
	Tunnel         *tunnelDocument `json:"tunnel"` // null unless the client asked for one, and until its first bytes are seen
	Phases         []phaseDocument `json:"phases"`
	UpstreamFlow   flowDocument    `json:"upstream_flow"`
	DownstreamFlow flowDocument    `json:"downstream_flow"`
	RTT            rttDocument     `json:"rtt"`
	Worker         *int            `json:"worker"` // event loop; null where none has it
	Close          *closeDocument  `json:"close"`  // null while nothing ends it
}

// legsDocument has the two sockets.
type legsDocument struct {
	Client   legDocument `json:"client"`
	Upstream legDocument `json:"upstream"`
}

type legDocument struct {
	Address *string      `json:"address"` // of the other end: a hop before the client, an egress proxy, or the endpoint itself
	TLS     *tlsDocument `json:"tls"`     // with the endpoint; null without
}

type tlsDocument struct {
	Version    string  `json:"version"`
	Cipher     string  `json:"cipher"`
	ServerName *string `json:"server_name"`
	ALPN       *string `json:"alpn"`
	Resumed    bool    `json:"resumed"`
}

type phaseDocument struct {
	Phase    string   `json:"phase"`
	Start    float64  `json:"start"`
	Duration *float64 `json:"duration"` // null while it runs
	Attempt  uint8    `json:"attempt"`  // 0 in phases that are not retried
	Error    *string  `json:"error"`
}

// tunnelDocument is what the first bytes of a tunnel have shown.
type tunnelDocument struct {
	Protocol    string  `json:"protocol"` // websocket, tls or other
	ServerName  *string `json:"server_name"`
	ALPN        *string `json:"alpn"` // with commas
	Intercepted bool    `json:"intercepted"`
}

type flowDocument struct {
	Bytes    uint64     `json:"bytes"`
	Messages uint64     `json:"messages"`
	Text     uint64     `json:"text"`
	Binary   uint64     `json:"binary"`
	Ping     uint64     `json:"ping"`
	Pong     uint64     `json:"pong"`
	Stall    float64    `json:"stall"`
	LastAt   *timestamp `json:"last_at"`
	Silence  *float64   `json:"longest_silence"` // between two bytes, and since the last; null before the 101
}

// rttDocument has the last round trips by ping and pong; null before the first.
type rttDocument struct {
	Client   *float64 `json:"client"`
	Upstream *float64 `json:"upstream"`
}

type closeDocument struct {
	Cause     string  `json:"cause"`
	Initiator *string `json:"initiator"`
	Leg       *string `json:"leg"`
	Code      *int    `json:"code"` // null without a Close frame, 0 for one that has none
	Clean     bool    `json:"clean"`

	FrameTruncated bool `json:"frame_truncated"`
	TLSTruncated   bool `json:"tls_truncated"` // a leg ended without close_notify
}

func (s *Server) connection(w http.ResponseWriter, r *http.Request) {
	c := s.Registry.Get(r.PathValue("id"))
	if c == nil {
		problem{Status: http.StatusNotFound, Detail: "no live connection has this id"}.write(w)
		return
	}
	writeJSON(w, describe(c))
}

func describe(c *lifecycle.Connection) connectionDocument {
	f := c.Facts()
	d := connectionDocument{
		ID:             c.ID,
		TraceID:        orNull(c.TraceID()),
		Mode:           f.Mode.String(),
		Route:          orNull(f.Route),
		Upstream:       orNull(f.Upstream),
		Target:         orNull(f.Target),
		Egress:         orNull(f.Egress),
		Generation:     f.Generation,
		Phase:          c.Phase().String(),
		OpenedAt:       timestamp(c.Accepted),
		Age:            time.Since(c.Accepted).Seconds(),
		Client:         f.Client,
		Legs:           legsDocument{legDocument{orNull(c.Client), describeTLS(f.ClientTLS)}, legDocument{orNull(f.Peer), describeTLS(f.UpstreamTLS)}},
		Subprotocol:    orNull(f.Subprotocol),
		Compression:    f.Compressed,
		Tunnel:         describeTunnel(&f),
		Phases:         describePhases(c.Timeline()),
		UpstreamFlow:   describeFlow(c, lifecycle.Upstream),
		DownstreamFlow: describeFlow(c, lifecycle.Downstream),
		RTT:            rttDocument{Client: describeRTT(c, lifecycle.LegClient), Upstream: describeRTT(c, lifecycle.LegUpstream)},
		Close:          describeClose(c.Closing()),
	}
	if id, ok := c.Worker(); ok {
		d.Worker = &id
	}
	return d
}

func describeTLS(t *lifecycle.TLSInfo) *tlsDocument {
	if t == nil {
		return nil
	}
	return &tlsDocument{t.Version, t.Cipher, orNull(t.ServerName), orNull(t.ALPN), t.Resumed}
}

func describeTunnel(f *lifecycle.Facts) *tunnelDocument {
	if f.Tunnel == lifecycle.TunnelNone {
		return nil
	}
	return &tunnelDocument{Protocol: f.Tunnel.String(), ServerName: orNull(f.ServerName), ALPN: orNull(f.ALPN), Intercepted: f.Intercepted}
}

func describePhases(marks []lifecycle.Mark) []phaseDocument {
	all := make([]phaseDocument, 0, len(marks))
	for _, m := range marks {
		d := phaseDocument{Phase: m.Phase.String(), Start: m.Start.Seconds(), Attempt: m.Attempt, Error: orNull(m.Reason.String())}
		if m.Duration >= 0 {
			d.Duration = new(m.Duration.Seconds())
		}
		all = append(all, d)
	}
	return all
}

func describeFlow(c *lifecycle.Connection, way lifecycle.Direction) flowDocument {
	f := c.Flow(way)
	n := f.Counts()
	d := flowDocument{Bytes: n.Bytes, Messages: n.Messages(), Text: n.Text, Binary: n.Binary, Ping: n.Ping, Pong: n.Pong, Stall: n.Stall.Seconds()}
	if last := f.Last(); !last.IsZero() {
		d.LastAt = new(timestamp(last))
	}
	if opened := c.Opened(); !opened.IsZero() {
		d.Silence = new(f.Silence(opened, transferredUntil(c)).Seconds())
	}
	return d
}

// transferredUntil is the end of the transfer, or now.
func transferredUntil(c *lifecycle.Connection) time.Time {
	for _, m := range c.Timeline() {
		if m.Phase == lifecycle.PhaseTransfer && m.Duration >= 0 {
			return c.Accepted.Add(m.Start + m.Duration)
		}
	}
	return time.Now()
}

func describeRTT(c *lifecycle.Connection, l lifecycle.Leg) *float64 {
	took, ok := c.RTT(l)
	if !ok {
		return nil
	}
	return new(took.Seconds())
}

func describeClose(c lifecycle.Close) *closeDocument {
	if c.Cause == lifecycle.CauseNone {
		return nil
	}
	d := &closeDocument{Cause: c.Cause.String(), Initiator: orNull(c.Initiator.String()), Leg: orNull(c.Leg.String()), Clean: c.Clean, FrameTruncated: c.FrameTruncated, TLSTruncated: c.TLSTruncated}
	if c.Code != lifecycle.NoCode {
		d.Code = &c.Code
	}
	return d
}
