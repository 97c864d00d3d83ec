//go:build linux

package server

import (
	"bufio"
	"fmt"
	"io"

	"wsproxy/bench/wire"
)

// verify sends its script while it compares what the client sends, and says in its Close frame what came
// of it: 1000, or 4000 with where the bytes first differ. (Serve's own Close frame then comes too late.)
func verify(c *conn, seed uint64, limits wire.Limits) error {
	in := bufio.NewReaderSize(c, chunk)
	if _, err := in.Peek(1); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		_, err := wire.CopyInChunks(c, wire.NewScript(seed, false, limits), seed)
		sent <- err
	}()
	differs := wire.Compare(in, wire.NewScript(seed, true, limits))
	if differs != nil {
		<-sent
		return refuse(c, differs)
	}
	if err := <-sent; err != nil {
		return err
	}
	h, err := wire.ReadHeader(in)
	if err == nil && h.Opcode != wire.Close {
		return refuse(c, fmt.Errorf("opcode %d where the Close frame should be", h.Opcode))
	}
	return err
}

// refuse ends with the reason. What still comes is taken, or it would reset the connection.
func refuse(c *conn, why error) error {
	reason := fmt.Appendf([]byte{0x0F, 0xA0}, "%.100s", why) // 4000
	if _, err := c.Write(wire.Frame(wire.Close, reason, false)); err != nil {
		return err
	}
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	io.Copy(io.Discard, c)
	return why
}
