//go:build e2e

package e2e

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// sockets are those of a process that go over IP, by proc_pid_fd(5) and proc_net(5).
func sockets(pid int) ([]socketEnds, error) {
	folder := fmt.Sprintf("/proc/%d", pid)
	links, err := filepath.Glob(folder + "/fd/*")
	if err != nil {
		return nil, err
	}
	own := make(map[string]bool) // by inode
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && strings.HasPrefix(to, "socket:[") {
			own[strings.Trim(to, "socket:[]")] = true
		}
	}
	var all []socketEnds
	for _, protocol := range []string{"tcp", "tcp6", "udp", "udp6"} {
		table, err := os.ReadFile(folder + "/net/" + protocol)
		if err != nil {
			return nil, err
		}
		for row := range strings.Lines(string(table)) {
			if f := strings.Fields(row); len(f) > 9 && own[f[9]] {
				all = append(all, socketEnds{protocol, address(f[1]), address(f[2])})
			}
		}
	}
	return all, nil
}

// address reads an address as the kernel prints it: hex digits, each four bytes in the machine's order.
func address(text string) string {
	host, port, _ := strings.Cut(text, ":")
	b, err := hex.DecodeString(host)
	if err != nil {
		return text
	}
	for word := range slices.Chunk(b, 4) {
		slices.Reverse(word)
	}
	ip, _ := netip.AddrFromSlice(b)
	n, _ := strconv.ParseUint(port, 16, 16)
	return netip.AddrPortFrom(ip.Unmap(), uint16(n)).String()
}
