//go:build e2e && !linux

package e2e

import "errors"

func sockets(int) ([]socketEnds, error) { return nil, errors.ErrUnsupported }
