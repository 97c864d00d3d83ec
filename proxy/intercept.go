package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/relay"
)

// Interception has TLS in tunnels end here, so that what is in it is seen as in a tunnel without TLS.
// Only what may be HTTP/1.1 is intercepted: a client that offers other protocols alone is left alone.
type Interception struct {
	// Client is TLS towards a client that asks for a host, a name in lower case and ASCII or an address, by
	// the server name of its ClientHello or, without one, by the target of its tunnel. Nil: that host's TLS
	// passes as it is.
	Client func(host string, port uint16) *tls.Config

	// Secure shakes hands with the target behind conn, which Dial has opened to address, and holds it
	// against a host. protocols are those that the client agreed on. It reports the tls phase to the
	// connection in ctx, and closes conn if it fails.
	Secure func(ctx context.Context, conn net.Conn, address, host string, protocols []string) (net.Conn, error)
}

// interception is TLS towards the client of a tunnel that is to be intercepted, and the host that the client
// asks for. It is nil if the tunnel is not.
func (t *tunnel) interception(s sensed) (config *tls.Config, host string) {
	if t.forward.Interception == nil || s.kind != lifecycle.TunnelTLS || !s.hello.http || len(s.early[lifecycle.Downstream]) > 0 {
		return nil, ""
	}
	host = t.to.host
	if s.hello.serverName != "" {
		var err error
		if host, err = canonicalHost(s.hello.serverName); err != nil {
			return nil, ""
		}
	}
	return t.forward.Interception.Client(host, t.to.port), host
}

// intercept puts TLS of our own on both sides of the tunnel. What it returns is what can be read then, and
// whether there is a tunnel still: if not, its record has ended.
func (t *tunnel) intercept(ctx context.Context, s sensed, config *tls.Config, host string) (sensed, bool) {
	t.record.Update(func(f *lifecycle.Facts) { f.Intercepted = true })
	client, err := t.accept(ctx, s.early[lifecycle.Upstream], config)
	if err != nil {
		t.record.Failed(failure(err), 0)
		return s, false
	}
	t.client = client
	var protocols []string
	if p := client.ConnectionState().NegotiatedProtocol; p != "" {
		protocols = []string{p}
	}
	upstream, err := t.forward.Interception.Secure(ctx, t.upstream, t.to.String(), host, protocols)
	if err != nil {
		t.upstream = nil // it is closed
		t.refuse(ctx, failure(err))
		return s, false
	}
	t.upstream, t.scheme, t.begun = upstream, "wss", time.Now()
	return sense(ctx, t.client, t.upstream, nil), true
}

// accept shakes hands with the client, of which the ClientHello was read.
func (t *tunnel) accept(ctx context.Context, hello []byte, config *tls.Config) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, tlsTimeout)
	defer cancel()
	t.stepCtx, t.step = t.record.Begin(ctx, &lifecycle.Step{Phase: lifecycle.PhaseTLSAccept})
	client := tls.Server(relay.Rewind(t.client, hello), config)
	err := client.HandshakeContext(t.stepCtx)
	if err == nil {
		t.step.TLS = lifecycle.NewTLSInfo(client.ConnectionState())
	}
	step := t.step
	t.step = nil
	return client, step.End(t.stepCtx, err)
}

// refuse tells the client, inside of the TLS that it has with us, why it has none with its target.
func (t *tunnel) refuse(ctx context.Context, f *lifecycle.Failure) {
	t.client.SetReadDeadline(time.Now().Add(senseTimeout))
	stop := context.AfterFunc(ctx, func() { t.client.SetReadDeadline(past) })
	_, err := http.ReadRequest(bufio.NewReader(io.LimitReader(t.client, headerBytes)))
	if !stop() || err != nil { // it does not want to know
		t.record.Failed(f, 0)
		return
	}
	t.server.refuse(newTunnelWriter(t.client, nil), t.record, f, t.forward)
	t.in.seat.linger()
	linger(t.client)
}
