package main

import (
	"runtime"
	"testing"
)

func TestWorkers(t *testing.T) {
	r := newRig(t, func(cfg object) { cfg["workers"] = 3 })
	want := 3
	if runtime.GOOS != "linux" {
		want = 0 // goroutines
	}
	if got := len(r.engine.Workers()); got != want {
		t.Errorf("got %d event loops, want %d", got, want)
	}
	r.talks(r.dial("/chat"))
	r.cfg["workers"] = 2
	if got := r.reloaded(); got.Err == nil {
		t.Error("got another number of event loops by a reload, want it refused")
	}
}
