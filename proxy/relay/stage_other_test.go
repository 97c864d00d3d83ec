//go:build !linux

package relay

import "testing"

var loops func(testing.TB) Engine
