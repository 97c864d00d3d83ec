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
	// WebSocket handshakes per second, with a burst of a second's worth. Those beyond are answered 429.
	HandshakesPerSecond float64 `yaml:"handshakes_per_second" default:"off" range:"0.001..1000000" off:"true"`
	// WebSocket handshakes per second of one client address, of IPv6 of one /64, with a burst of a second's worth and at least one. Those beyond are answered 429.
	ClientHandshakesPerSecond float64 `yaml:"client_handshakes_per_second" default:"off" range:"0.001..1000000" off:"true"`
}
