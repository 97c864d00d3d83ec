package telemetry

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

type signal uint8

const (
	signalTraces signal = iota
	signalMetrics
	signalLogs
	signalCount
)

var signalNames = [signalCount]string{"traces", "metrics", "logs"}

func (s signal) String() string { return signalNames[s] }

type loss uint8

const (
	lossQueueFull loss = iota
	lossExportFailed
	lossExportTimeout
	lossCount
)

var lossNames = [lossCount]string{"queue_full", "export_failed", "export_timeout"}

func (l loss) String() string { return lossNames[l] }

// lossOf tells why an export failed.
func lossOf(ctx context.Context, err error) loss {
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
		return lossExportTimeout
	}
	return lossExportFailed
}

// reportEvery is the least time between two reports of losses of one signal, and between two lines
// of one kind from the SDK.
const reportEvery = 10 * time.Second

// losses counts telemetry that did not reach a collector. It may be used by any goroutine and blocks
// none.
type losses struct {
	counts   [signalCount][lossCount]atomic.Int64
	pending  [signalCount]atomic.Int64 // since the last report
	reported [signalCount]atomic.Int64 // time of it, Unix nanoseconds
	report   atomic.Pointer[func(signal, loss, int64)]
}

func newLosses() *losses { return new(losses) }

// reportTo has f called when items are lost, at most once per signal and reportEvery.
func (l *losses) reportTo(f func(signal, loss, int64)) { l.report.Store(&f) }

func (l *losses) add(s signal, why loss, n int) {
	l.counts[s][why].Add(int64(n))
	l.pending[s].Add(int64(n))
	report := l.report.Load()
	if report == nil {
		return
	}
	now, last := time.Now().UnixNano(), l.reported[s].Load()
	if now-last < int64(reportEvery) || !l.reported[s].CompareAndSwap(last, now) {
		return
	}
	(*report)(s, why, l.pending[s].Swap(0))
}

// each yields every count, zeros included.
func (l *losses) each(yield func(signal, loss, int64)) {
	for s := range signalCount {
		for why := range lossCount {
			yield(s, why, l.counts[s][why].Load())
		}
	}
}
