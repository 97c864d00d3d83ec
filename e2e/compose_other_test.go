//go:build e2e && !linux

package e2e

import "testing"

// compose needs namespaces.
func (h *house) compose(t *testing.T) { t.Skip("an engine of our own runs on Linux only") }
