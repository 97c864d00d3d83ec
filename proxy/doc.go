// Package proxy is the data plane: it accepts clients, finds the route, carries the WebSocket
// handshake to a target and back, and hands both sockets to a relay.
//
// It reports every phase to lifecycle. It reads no configuration, chooses no targets and dials only
// through the functions it is given.
package proxy
