package config

// ProcessLimits are what the process takes on, all listeners and routes together.
type ProcessLimits struct {
	// WebSockets open or being set up. `auto` is as many as the limit of open files (`ulimit -n`) has room for, which is the most in any case: those beyond are answered 503.
	Connections int `yaml:"connections" default:"auto" range:"1..10000000" auto:"true"`
	// Clients at once that are in their TLS handshake or send their request. Where there are more, the one that has taken longest gives way.
	Handshakes int `yaml:"handshakes" default:"1024" range:"1..1000000"`
}

// ListenerLimits are what one listener takes on, its routes together.
type ListenerLimits struct {
	// WebSockets open or being set up. Those beyond are answered 503.
	Connections int `yaml:"connections" default:"off" range:"1..10000000" off:"true"`
	// WebSockets of one client address, of IPv6 of one /64. Those beyond are answered 503.
	PerClient int `yaml:"per_client" default:"off" range:"1..10000000" off:"true"`
	// WebSocket handshakes per second, with a burst of a second's worth. Those beyond are answered 429.
	HandshakesPerSecond float64 `yaml:"handshakes_per_second" default:"off" range:"0.001..1000000" off:"true"`
	// WebSocket handshakes per second of one client address, of IPv6 of one /64, with a burst of a second's worth and at least one. Those beyond are answered 429.
	ClientHandshakesPerSecond float64 `yaml:"client_handshakes_per_second" default:"off" range:"0.001..1000000" off:"true"`
}

// Limits are what one route takes on.
type Limits struct {
	// WebSockets open or being set up. Those beyond are answered 503.
	Connections int `yaml:"connections" default:"off" range:"1..10000000" off:"true"`
	// WebSockets of one client address, of IPv6 of one /64. Those beyond are answered 503.
	PerClient int `yaml:"per_client" default:"off" range:"1..10000000" off:"true"`
	// WebSockets of one identity, where `auth` tells who it is. Those beyond are answered 503.
	PerIdentity int `yaml:"per_identity" default:"off" range:"1..10000000" off:"true"`
	// WebSocket handshakes per second, with a burst of a second's worth. Those beyond are answered 429.
	HandshakesPerSecond float64 `yaml:"handshakes_per_second" default:"off" range:"0.001..1000000" off:"true"`
	// WebSocket handshakes per second of one client address, of IPv6 of one /64, with a burst of a second's worth and at least one. Those beyond are answered 429.
	ClientHandshakesPerSecond float64 `yaml:"client_handshakes_per_second" default:"off" range:"0.001..1000000" off:"true"`
	// The largest payload of one frame, either way. A larger one ends the connection with 1009.
	MaxFrame Size `yaml:"max_frame" default:"off" range:"125..1TiB" off:"true"`
	// The largest payload of one message, either way, compressed as it is on the wire. A larger one ends the connection with 1009.
	MaxMessage Size `yaml:"max_message" default:"off" range:"1..1TiB" off:"true"`
	// Messages per second that one client may send, with a burst of a second's worth and at least one.
	MessagesPerSecond float64 `yaml:"messages_per_second" default:"off" range:"0.001..10000000" off:"true"`
	// Bytes per second that one client may send, with a burst of a second's worth.
	BytesPerSecond Size `yaml:"bytes_per_second" default:"off" range:"1..1TiB" off:"true"`
	// What becomes of a client that sends more per second: `close` ends the connection with 1008, `throttle` reads it no faster.
	OnExcess OnExcess `yaml:"on_excess" default:"close"`
}

func (l Limits) check(src *source, path string, f Framing) {
	rated := l.MessagesPerSecond > 0 || l.BytesPerSecond > 0 || src.wrong[key(path, "messages_per_second")] || src.wrong[key(path, "bytes_per_second")]
	if at := key(path, "on_excess"); src.given(at) && !rated {
		src.add(at, "", "has no effect without messages_per_second or bytes_per_second")
	}
	if f != FramingOff {
		return
	}
	for _, k := range []struct {
		name string
		set  bool
	}{{"max_frame", l.MaxFrame > 0}, {"max_message", l.MaxMessage > 0}, {"messages_per_second", l.MessagesPerSecond > 0}} {
		if k.set {
			src.add(key(path, k.name), "", "with framing: off no frame is looked at; remove it, or choose another framing")
		}
	}
}
