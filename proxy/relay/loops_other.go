//go:build !linux

package relay

import (
	"errors"
	"log/slog"
)

// Loops is the engine of event loops, which needs Linux.
type Loops struct{ Goroutines }

// NewLoops fails: there is no epoll here.
func NewLoops(int, *slog.Logger) (*Loops, error) {
	return nil, errors.New("event loops need Linux")
}
