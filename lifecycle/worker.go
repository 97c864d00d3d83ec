package lifecycle

import "time"

// Worker is what one event loop of the data plane tells of itself; libwebsockets calls one a service
// thread. The counters only grow.
type Worker struct {
	ID          int
	Connections int
	Busy        time.Duration // spent on anything but waiting
	Wakeups     uint64        // waits that ended
	Events      uint64        // of sockets, over all wake-ups
	LongestTurn time.Duration // between two waits, in the last 15 to 30 s
}
