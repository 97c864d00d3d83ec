package relay

import (
	"testing"
	"time"

	"wsproxy/lifecycle"
)

// While the upstream takes nothing the client is not read, and its reset must be noticed all the same.
func TestResetWhileTheOtherLegIsSlow(t *testing.T) {
	for _, s := range realStages(t) {
		t.Run(s.name, func(t *testing.T) {
			s.run(t, func(t *testing.T, e Engine) {
				r := start(t, e, small(s.network, 64<<10), Policy{Close: 100 * time.Millisecond})
				r.client.conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
				for {
					if _, err := r.client.conn.Write(fromClient(binaryOf(1 << 20))); err != nil {
						break // nobody takes any more
					}
				}
				begun := time.Now()
				r.client.reset()
				got := r.finish()
				if got.Cause != lifecycle.CauseClientReset {
					t.Errorf("got %+v, want client_reset", got)
				}
				if took := time.Since(begun); took > patience/2 {
					t.Errorf("got it after %s, want at most %s", took, patience/2)
				}
			})
		})
	}
}

// A client that has sent its last and closed its socket is not cut off, however slow the upstream is.
func TestEndWhileTheOtherLegIsSlow(t *testing.T) {
	for _, s := range realStages(t) {
		t.Run(s.name, func(t *testing.T) {
			s.run(t, func(t *testing.T, e Engine) {
				r := start(t, e, small(s.network, 64<<10), Policy{Close: patience})
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					r.client.send(binaryOf(1<<20), closing(1000, ""))
					r.client.fin()
				}()
				eventually(t, "the upstream is waited for", func() bool { return r.record.Flow(lifecycle.Upstream).Bytes.Load() > 0 })
				r.upstream.expect("binary 1048576", "close 1000")
				<-sent
				r.upstream.send(closing(1000, ""))
				r.upstream.fin()
				if got := r.finish(); got.Cause != lifecycle.CauseClientClose || !got.Clean {
					t.Errorf("got %+v, want a clean client_close", got)
				}
			})
		})
	}
}
