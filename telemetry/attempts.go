package telemetry

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
)

const (
	connectTimeout = 20 * time.Second       // as without options of ours
	lastConnect    = 500 * time.Millisecond // how long the shutdown waits for a connection to a collector that was away
)

// attempts follows what one exporter tries over gRPC. OTLP's clients try a failed call again after some
// seconds: once the shutdown has begun, nobody waits for that. Over HTTP it sees nothing, and changes
// nothing: there only a collector that answers "later" is tried again.
type attempts struct {
	hold    context.Context // as a gate's
	waiting atomic.Bool     // the last one failed, and the next is not yet under way
	last    atomic.Bool     // the collector was looked for once more
}

// dialOptions are for the exporter. Connects are as far apart as a gate's attempts, which would be none
// while gRPC pauses: it would for two minutes, as long as a batch is held.
func (a *attempts) dialOptions() []grpc.DialOption {
	pauses := backoff.DefaultConfig
	pauses.BaseDelay, pauses.MaxDelay = leastPause, mostPause
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(a.intercept),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: pauses, MinConnectTimeout: connectTimeout}),
	}
}

// intercept makes one attempt. One that fails in the shutdown is final.
func (a *attempts) intercept(ctx context.Context, method string, req, reply any, c *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	a.waiting.Store(false)
	if a.hold.Err() != nil && c.GetState() == connectivity.TransientFailure && a.last.CompareAndSwap(false, true) {
		// It pauses between connects, and fails calls at once meanwhile.
		c.ResetConnectBackoff()
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, lastConnect)
		defer cancel()
		opts = append(opts, grpc.WaitForReady(true))
	}
	err := invoke(ctx, method, req, reply, c, opts...)
	if err == nil {
		return nil
	}
	a.waiting.Store(true) // before it is known whether the shutdown has begun: cut looks after
	if a.hold.Err() != nil {
		return finalError{err}
	}
	return err
}

// cut runs f, and ends its waits between attempts when the shutdown begins; was says that it did.
func (a *attempts) cut(ctx context.Context, f func(context.Context) error) (was bool, err error) {
	if a == nil {
		return false, f(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if a.hold.Err() == nil {
		defer context.AfterFunc(a.hold, func() {
			if a.waiting.Load() {
				cancel()
			}
		})()
	}
	err = f(ctx)
	return ctx.Err() != nil, err
}

// finalError hides the status for which OTLP's clients would try again.
type finalError struct{ err error }

func (e finalError) Error() string { return e.err.Error() }
