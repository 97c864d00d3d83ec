package lifecycle

import "time"

// EgressStatus is what dials through an egress proxy have shown of it. Nobody asks the proxy.
type EgressStatus struct {
	Name     string
	Type     string // http, https, socks5, socks5h; empty for the proxies of the environment
	Address  string // host:port, empty likewise
	Fallback string // the egress behind it, empty without one
	Up       bool
	Granted  uint64    // tunnels
	Failed   uint64    // dials that failed by its own fault
	Failures int       // of these, since the last tunnel
	Reason   Reason    // of the last of them
	At       time.Time // when that was; zero if none failed
}
