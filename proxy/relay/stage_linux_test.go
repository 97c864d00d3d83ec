package relay

import "testing"

var loops = func(t testing.TB) Engine {
	t.Helper()
	e, err := NewLoops(2, nil)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
