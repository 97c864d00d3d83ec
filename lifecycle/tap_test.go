package lifecycle

import "testing"

func TestTaps(t *testing.T) {
	r := new(Registry)
	c := r.Open("", epoch)
	if c.Tapped() {
		t.Error("got a tapped connection, want none before anybody taps it")
	}
	var taps []*Tap
	for range tapsOf {
		taps = append(taps, c.Tap())
	}
	if c.Tap() != nil {
		t.Errorf("got more than %d taps", tapsOf)
	}
	taps[0].Close()
	taps[0].Close()
	c.Tell(Frame{Length: 1})
	for i, tap := range taps {
		if got, want := len(tap.Frames()), min(i, 1); got != want {
			t.Errorf("tap %d: got %d frames, want %d", i, got, want)
		}
	}
	again := c.Tap()
	if again == nil {
		t.Fatal("got no tap in the place of one that was closed")
	}
	c.Unused()
	for _, tap := range append(taps[1:], again, c.Tap()) {
		<-tap.Ended()
		tap.Close()
	}
	c.Tell(Frame{})
	if c.Tapped() || len(again.Frames()) > 0 {
		t.Error("got a connection that has left and is still tapped")
	}
}
