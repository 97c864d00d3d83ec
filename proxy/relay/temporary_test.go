package relay

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"testing"

	"wsproxy/internal/memnet"
)

// stutter gives its reader one byte, then says that it would block, then gives the next.
type stutter struct {
	net.Conn
	on    bool
	dry   bool
	heard int // how often it said so
}

func (c *stutter) Read(b []byte) (int, error) {
	if !c.on {
		return c.Conn.Read(b)
	}
	if c.dry = !c.dry; c.dry {
		c.heard++
		return 0, errWouldBlock
	}
	return c.Conn.Read(b[:1])
}

// That crypto/tls takes a temporary error for temporary is what lets an idle TLS connection hold no
// buffer. It is not documented: should a Go release change it, this fails and the relay has to read TLS
// with a buffer in hand.
func TestTLSReadsOnAfterATemporaryError(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			server, client := tlsConfigs(t)
			server.MaxVersion = version
			c, s := memnet.Pipe()
			under := &stutter{Conn: s}
			near, far := tls.Client(c, client), tls.Server(under, server)
			handshaken(t, near, far)
			under.on = true
			want := pattern(50_000)
			go func() {
				near.Write(want)
				near.CloseWrite()
			}()
			var got []byte
			b := make([]byte, 4096)
			for {
				n, err := far.Read(b)
				got = append(got, b[:n]...)
				if err == io.EOF {
					break
				}
				if err != nil && err != error(errWouldBlock) {
					t.Fatalf("got %v, want only %v", err, errWouldBlock)
				}
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got %d bytes, want the %d that were sent", len(got), len(want))
			}
			if under.heard < len(want) {
				t.Errorf("would block: got %d times, want once a byte", under.heard)
			}
			near.Close()
			far.Close()
		})
	}
}
