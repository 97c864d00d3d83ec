package telemetry

import (
	"testing"
	"time"

	"wsproxy/lifecycle"
)

// TestWorkersShare takes the busy share over the time since it was last asked for, and over no less
// than the window: two readers ask one right after the other.
func TestWorkersShare(t *testing.T) {
	w := newWorkers()
	start := time.Now()
	for _, step := range []struct {
		name string
		at   time.Duration
		busy time.Duration
		want float64
	}{
		{"nothing to compare with", 0, 3 * time.Second, 0},
		{"half of two seconds", 2 * time.Second, 4 * time.Second, 0.5},
		{"asked again at once", 2*time.Second + time.Millisecond, 4 * time.Second, 0.5},
		{"idle", 3 * time.Second, 4 * time.Second, 0},
		{"never above one", 4 * time.Second, 6 * time.Second, 1},
	} {
		if got := w.share(lifecycle.Worker{Busy: step.busy}, start.Add(step.at)); got != step.want {
			t.Errorf("%s: got %v, want %v", step.name, got, step.want)
		}
	}
}
