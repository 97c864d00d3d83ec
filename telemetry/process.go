package telemetry

import (
	"time"

	"go.opentelemetry.io/otel/metric"
)

// process tells about our own process. contrib's host instrumentation has only its processor time, and
// brings the whole host's network and memory along.
type process struct {
	started time.Time
	user    *set
	system  *set
}

// usage is what the system says about the process at one moment.
type usage struct {
	user, system time.Duration
	resident     int64 // bytes
	threads      int64
	descriptors  int64
}

func newProcess() *process {
	modes := newSets(func(mode string) list { return list{keyCPUMode.String(mode)} })
	return &process{started: time.Now(), user: modes.of("user"), system: modes.of("system")}
}

func (p *process) observe(o metric.Observer, on *instruments) {
	o.ObserveFloat64(on.processUptime, time.Since(p.started).Seconds())
	u, ok := readUsage()
	if !ok {
		return
	}
	o.ObserveFloat64(on.processCPUTime, u.user.Seconds(), p.user.observe...)
	o.ObserveFloat64(on.processCPUTime, u.system.Seconds(), p.system.observe...)
	o.ObserveInt64(on.processMemoryUsage, u.resident)
	o.ObserveInt64(on.processThreadCount, u.threads)
	o.ObserveInt64(on.processUnixFileDescriptorCount, u.descriptors)
}
