package frame_test

import (
	"fmt"

	"wsproxy/proxy/frame"
)

// A relay's loop over what one read brought: everything passes but the pong to its own ping.
func Example() {
	key := [4]byte{1, 2, 3, 4}
	read := []byte("\x81\x82\x01\x02\x03\x04ik") // a text message, "hi"
	read = frame.AppendPong(read, []byte("our nonce"), &key)
	read = append(read, 0x81) // half a header

	scanner := frame.New(frame.Rules{Masked: true})
	var counts frame.Counts
	var passed []byte
	for {
		n, event := scanner.Scan(read, &counts)
		passed, read = append(passed, read[:n]...), read[n:]
		if event != frame.EventControl {
			break
		}
		control := frame.ControlAt(read)
		var buf [frame.MaxControlPayload]byte
		if string(control.Unmasked(&buf)) != "our nonce" {
			counts.Pass(control)
			passed = append(passed, read[:control.Size]...)
		}
		read = read[control.Size:]
	}
	fmt.Println(len(passed), "bytes passed,", len(read), "held,", counts.Messages(), "message, boundary:", scanner.AtBoundary())
	// Output: 8 bytes passed, 1 held, 1 message, boundary: true
}
