package demo

import (
	"context"
	"slices"
	"sync"
	"time"

	"wsproxy/lifecycle"
)

// Story is a connection that has ended.
type Story struct {
	ID       string
	Client   string // the socket's peer
	TraceID  string
	Accepted time.Time
	Facts    lifecycle.Facts
	Steps    []*lifecycle.Step // in order
	Outcome  lifecycle.Outcome
}

// Recorder is a lifecycle.Observer that keeps the stories of connections. Plain HTTP, and clients that
// left without a byte, have none. The zero value is ready.
type Recorder struct {
	Keep int // stories nobody asked for yet, the oldest go first; 0: 64

	mu      sync.Mutex
	stories []*Story
	told    chan struct{} // closed at the next story; nil while nobody waits
}

const defaultKeep = 64

// Watch implements lifecycle.Observer.
func (r *Recorder) Watch(c *lifecycle.Connection) lifecycle.Watcher {
	return &watcher{recorder: r, conn: c}
}

// Story waits for the connection of the client at the given address to end, and hands its story out,
// once.
func (r *Recorder) Story(ctx context.Context, client string) (*Story, error) {
	for {
		s, told := r.take(client)
		if s != nil {
			return s, nil
		}
		select {
		case <-told:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// take takes the client's latest story, or returns what is closed when there is another one.
func (r *Recorder) take(client string) (*Story, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, s := range slices.Backward(r.stories) {
		if s.Client == client {
			r.stories = slices.Delete(r.stories, i, i+1)
			return s, nil
		}
	}
	if r.told == nil {
		r.told = make(chan struct{})
	}
	return nil, r.told
}

func (r *Recorder) tell(s *Story) {
	r.mu.Lock()
	defer r.mu.Unlock()
	keep := r.Keep
	if keep <= 0 {
		keep = defaultKeep
	}
	if n := len(r.stories) + 1 - keep; n > 0 {
		r.stories = slices.Delete(r.stories, 0, n)
	}
	r.stories = append(r.stories, s)
	if r.told != nil {
		close(r.told)
		r.told = nil
	}
}

// watcher follows one connection.
type watcher struct {
	recorder *Recorder
	conn     *lifecycle.Connection
	steps    []*lifecycle.Step
}

// Begin implements lifecycle.Watcher.
func (w *watcher) Begin(ctx context.Context, _ *lifecycle.Step) context.Context { return ctx }

// End implements lifecycle.Watcher.
func (w *watcher) End(_ context.Context, s *lifecycle.Step) { w.steps = append(w.steps, s) }

// Done implements lifecycle.Watcher.
func (w *watcher) Done(o lifecycle.Outcome) {
	if o.Kind == lifecycle.OutcomeDismissed || o.Kind == lifecycle.OutcomeUnused {
		return
	}
	c := w.conn
	w.recorder.tell(&Story{
		ID: c.ID, Client: c.Client, TraceID: c.TraceID(), Accepted: c.Accepted,
		Facts: c.Facts(), Steps: w.steps, Outcome: o,
	})
}
