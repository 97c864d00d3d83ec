//go:build linux

package blackhole

import (
	"net"
	"testing"
	"time"
)

func TestNobodyAnswers(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "127.0.0.2"} {
		at := Listen(t, ip)
		_, err := net.DialTimeout("tcp", at, 50*time.Millisecond)
		if ne, ok := err.(net.Error); !ok || !ne.Timeout() {
			t.Errorf("%s: got %v, want a timeout", at, err)
		}
	}
}
