package relay

import (
	"time"

	"golang.org/x/sys/unix"
)

// readTCP asks the system about a socket. It is not ok for one that is no TCP.
func readTCP(fd int) (now tcpInfo, ok bool) {
	i, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil || i.State == 0 {
		return tcpInfo{}, false
	}
	return tcpInfo{
		rtt: time.Duration(i.Rtt) * time.Microsecond, retransmits: i.Total_retrans, acked: i.Bytes_acked,
		waiting: i.Unacked > 0 || i.Notsent_bytes > 0,
	}, true
}
