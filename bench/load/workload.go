//go:build linux

package load

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"time"
)

// Kind is what the clients of a workload do.
type Kind string

const (
	KindEcho   Kind = "echo"   // each sends a message and waits for it to come back, again and again
	KindStream Kind = "stream" // each sends, receives or both, without end
	KindRate   Kind = "rate"   // messages at fixed times, which come back
	KindBeside Kind = "beside" // the same, beside two bulk streams each way, and sent and answered before all else that goes on at the ends
	KindSetup  Kind = "setup"  // connect, upgrade, close
	KindIdle   Kind = "idle"   // are there
	KindBurst  Kind = "burst"  // all are pushed to at once
)

// Workload is one thing to measure.
type Workload struct {
	Name        string
	Kind        Kind
	TLS         bool // wss to the proxy, ws behind it
	Connections int
	Size        int  // bytes of a message
	Up, Down    bool // of a stream
	PerSecond   int  // messages of KindRate and KindBeside
	Bad         bool // KindBeside: also beside peers that read slowly, or nothing, or send a byte at a time
	Base        int  // KindIdle: connections before the memory of the others is measured
	Bursts      int  // KindBurst
}

// Unit is what costs are per.
func (w Workload) Unit() string {
	switch w.Kind {
	case KindStream, KindBeside:
		return "MB"
	case KindSetup, KindIdle:
		return "connection"
	}
	return "message"
}

// Processors is how many processors the ends' schedulers should think they have. One, as they have, would
// let streams that never wait keep everything else from running for 10 ms at a time; with more threads
// the kernel, which is fair, chooses.
func (w Workload) Processors() int {
	switch w.Kind {
	case KindBeside:
		return 32 // nobody urgent waits for one
	case KindRate:
		return 2 // the thread that keeps time has one
	}
	return 1
}

// Metric names a figure. Those per unit are of a workload's Unit.
type Metric string

const (
	CPU         Metric = "cpu"         // µs of the proxy's CPU time per unit
	Ends        Metric = "ends"        // µs of the two ends' CPU time per unit
	Rate        Metric = "rate"        // units per second
	Busy        Metric = "busy"        // the proxy's share of its core
	P50         Metric = "p50"         // µs, as P99, P999 and Max
	P99         Metric = "p99"         //
	P999        Metric = "p999"        //
	Max         Metric = "max"         //
	Memory      Metric = "memory"      // bytes of the proxy's resident memory per connection
	Live        Metric = "live"        // bytes that the proxy's garbage collector can't free, per connection
	Descriptors Metric = "descriptors" // of the proxy's, per connection
)

// Result is what one run gave.
type Result map[Metric]float64

// Env is a proxy that is up, with nothing else on its core, and how to look at it.
type Env struct {
	Target *Target
	Server *Target // the server itself, over ws
	Gauge  Gauge

	Warm   time.Duration // before a window begins
	Window time.Duration // how long is measured
	Settle time.Duration // how long memory gets to settle
}

// Gauge tells what has been used so far.
type Gauge interface {
	// CPU is the CPU time of the proxy and of the two ends, in nanoseconds, and Swallowed how many bytes
	// the server has taken out of streams, all at one moment.
	CPU() (Reading, error)

	// Memory is the proxy's resident memory in bytes, pages shared with others in proportion, and how
	// many descriptors it has.
	Memory() (bytes int64, descriptors int, err error)

	// Live is how many bytes of the proxy's a garbage collector can't free, found by having it collect;
	// NaN if it has none, or none that tells.
	Live(ctx context.Context) (float64, error)
}

// Reading is what a gauge shows.
type Reading struct {
	Proxy, Ends time.Duration
	Swallowed   int64
}

// Run measures one workload. All connections are closed when it returns.
func (w Workload) Run(ctx context.Context, e *Env) (Result, error) {
	runtime.GC() // of what came before
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(w.Processors()))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var run func(context.Context, *Env) (Result, error)
	switch w.Kind {
	case KindEcho:
		run = w.echo
	case KindStream:
		run = w.stream
	case KindRate, KindBeside:
		run = w.rate
	case KindSetup:
		run = w.setup
	case KindIdle:
		run = w.idle
	case KindBurst:
		run = w.burst
	default:
		return nil, fmt.Errorf("no workload of kind %q", w.Kind)
	}
	r, err := run(ctx, e)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w.Name, err)
	}
	return r, nil
}

// costs are the figures of a window in which units of work were done.
func costs(before, after Reading, units float64, elapsed time.Duration) Result {
	if units <= 0 {
		units = math.NaN()
	}
	return Result{
		CPU:  micros(after.Proxy-before.Proxy) / units,
		Ends: micros(after.Ends-before.Ends) / units,
		Rate: units / elapsed.Seconds(),
		Busy: float64(after.Proxy-before.Proxy) / float64(elapsed),
	}
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
