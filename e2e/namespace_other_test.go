//go:build e2e && !linux

package e2e

import (
	"context"
	"net"
	"net/http"
	"testing"
)

// namespace is for Linux only; nil is the network that the tests run in.
type namespace struct{}

func (*namespace) do(f func() error) error { return f() }

func (*namespace) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

func (*namespace) web() *http.Client { return web }

func resolvingAt(*testing.T, string, []string) []string { return nil }

const noNamespaces = "namespaces of our own are had on Linux only"

func (h *house) lostPeers(t *testing.T) { t.Skip(noNamespaces) }

func (h *house) witness(t *testing.T) { t.Skip(noNamespaces) }

func (h *house) scriptedDay(t *testing.T) { t.Skip(noNamespaces) }
