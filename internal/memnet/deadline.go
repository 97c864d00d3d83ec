package memnet

import "time"

// deadline is guarded by its link's mutex.
type deadline struct {
	timer  *time.Timer
	passed bool
}

func (d *deadline) set(l *link, t time.Time) {
	d.stop()
	if t.IsZero() {
		return
	}
	wait := time.Until(t)
	if wait <= 0 {
		d.passed = true
		l.changed.Broadcast()
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(wait, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if d.timer == timer { // it was not set anew meanwhile
			d.passed = true
			l.changed.Broadcast()
		}
	})
	d.timer = timer
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
	d.timer, d.passed = nil, false
}
