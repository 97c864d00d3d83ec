//go:build !linux

package relay

// readTCP is for Linux only.
func readTCP(int) (now tcpInfo, ok bool) { return tcpInfo{}, false }
