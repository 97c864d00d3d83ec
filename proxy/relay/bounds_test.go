package relay

import (
	"testing"

	"wsproxy/lifecycle"
	"wsproxy/proxy/frame"
)

// lifecycle knows no frames and frame no lifecycle: here they have to agree.
func TestCountersAgree(t *testing.T) {
	if got, want := frame.SizeBounds(), lifecycle.MessageSizeBounds(); got != want {
		t.Errorf("message sizes: got %v, want %v", got, want)
	}
	if got, most := frame.ViolationKinds, lifecycle.ViolationKinds; got > most {
		t.Errorf("violations: got %d kinds, want at most %d", got, most)
	}
}
