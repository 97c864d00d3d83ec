//go:build !linux

package telemetry

// readUsage knows nothing here; the runtime's metrics remain.
func readUsage() (usage, bool) { return usage{}, false }
