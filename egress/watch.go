package egress

import (
	"context"
	"errors"
	"net"
	"net/http/httptrace"
	"net/netip"
	"slices"
	"sync"
	"time"

	"wsproxy/lifecycle"
)

// watch makes phases of what a dial does. The lookup's hooks come on the goroutine that dials, those
// of the connects on several at once and even after the dial has returned.
type watch struct {
	attempt *attempt
	hop     lifecycle.Hop
	address string // as dialled
	began   time.Time
	cancel  context.CancelFunc // gives the dial up; nil where nothing can

	mu      sync.Mutex
	dns     *phase
	connect *phase
	failed  error // of the dns phase
	unfit   error // an address that is denied, or a connection that is of no use
	tries   []lifecycle.Try
	sealed  bool // the dial has returned
}

// dial opens the connection and ends the phases.
func (w *watch) dial(ctx context.Context, network string) (net.Conn, error) {
	literal, err := netip.ParseAddrPort(w.address)
	if known := err == nil && literal.String() == w.address && !literal.Addr().Is4In6(); known && w.attempt.DialContext == nil {
		return w.dialKnown(ctx, network)
	}
	ctx, w.cancel = context.WithCancel(ctx)
	defer w.cancel()
	host, _, err := net.SplitHostPort(w.address)
	if network == "unix" || err == nil && isAddress(host) {
		w.beginConnect(ctx)
	}
	dial := w.attempt.DialContext
	if dial == nil {
		dial = w.dialer().DialContext
	}
	conn, err := dial(httptrace.WithClientTrace(ctx, w.hooks(ctx)), network, w.address)
	return w.finish(ctx, conn, err)
}

// dialKnown dials an address as net.Dialer itself would write it: there is one try, and it needs no hook.
func (w *watch) dialKnown(ctx context.Context, network string) (net.Conn, error) {
	w.beginConnect(ctx)
	w.connectStart(w.address)
	conn, err := w.dialer().DialContext(w.connect.ctx, network, w.address)
	tried := err
	if op, ok := errors.AsType[*net.OpError](err); ok {
		tried = op.Err // what a hook would be given
	}
	w.connectDone(w.address, tried)
	return w.finish(ctx, conn, err)
}

func (w *watch) hooks(ctx context.Context) *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		DNSStart:     func(i httptrace.DNSStartInfo) { w.lookupStart(ctx, i) },
		DNSDone:      func(i httptrace.DNSDoneInfo) { w.lookupDone(ctx, i) },
		ConnectStart: func(_, address string) { w.connectStart(address) },
		ConnectDone:  func(_, address string, err error) { w.connectDone(address, err) },
	}
}

func (w *watch) lookupStart(ctx context.Context, i httptrace.DNSStartInfo) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sealed || w.dns != nil || w.connect != nil {
		return
	}
	w.dns = w.attempt.begin(ctx, &lifecycle.Step{Phase: lifecycle.PhaseDNS, Hop: w.hop, Host: i.Host})
}

func (w *watch) lookupDone(ctx context.Context, i httptrace.DNSDoneInfo) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sealed || w.dns == nil || w.connect != nil || w.failed != nil {
		return
	}
	for _, a := range i.Addrs {
		w.dns.step.Answers = append(w.dns.step.Answers, a.String())
	}
	if len(i.Addrs) == 0 && i.Err == nil { // of a name that Go looks up nowhere, such as x.onion
		i.Err = notFound(w.dns.step.Host)
	}
	if w.failed = w.dns.end(nil, i.Err); w.failed != nil {
		w.cancel()
		return
	}
	w.beginConnect(ctx)
	if w.checks() {
		w.judge(i.Addrs)
	}
}

func notFound(host string) error {
	return &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func (w *watch) beginConnect(ctx context.Context) {
	w.connect = w.attempt.begin(ctx, &lifecycle.Step{Phase: lifecycle.PhaseConnect, Hop: w.hop})
}

func (w *watch) connectStart(address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.sealed {
		w.tries = append(w.tries, lifecycle.Try{Address: address, Begun: time.Now()})
	}
}

func (w *watch) connectDone(address string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sealed {
		return
	}
	for i := range w.tries {
		if t := &w.tries[i]; t.Address == address && t.Ended.IsZero() {
			t.Ended = time.Now()
			if !errors.Is(err, context.Canceled) { // called off, not failed
				t.Err = err
			}
			return
		}
	}
}

// finish ends the phases when the dial has returned.
func (w *watch) finish(ctx context.Context, conn net.Conn, err error) (net.Conn, error) {
	w.mu.Lock()
	w.sealed = true
	w.mu.Unlock()
	if w.dns != nil && w.connect == nil && w.failed == nil { // the hook that ends it never came
		w.failed = w.dns.end(nil, err)
	}
	if w.failed != nil {
		if conn != nil {
			conn.Close()
		}
		return nil, w.failed
	}
	if w.connect == nil {
		step := &lifecycle.Step{Phase: lifecycle.PhaseConnect, Hop: w.hop, Begun: w.began}
		w.connect = w.attempt.begin(ctx, step)
	}
	if conn != nil && w.unfit == nil && w.hop == lifecycle.HopTarget {
		w.unfit = w.try(conn)
	}
	if w.unfit != nil {
		err = w.unfit
	} else if conn != nil {
		w.connect.step.Peer = peer(conn)
		markWinner(w.tries, w.connect.step.Peer)
	} else {
		err = telling(ctx, err, w.tries)
	}
	w.connect.step.Tries = w.tries
	if err := w.connect.end(conn, err); err != nil {
		return nil, err
	}
	return conn, nil
}

// markWinner marks the try whose socket is in use. Its address is not peer where an unspecified one
// was dialled.
func markWinner(tries []lifecycle.Try, peer string) {
	won := -1
	for i, t := range tries {
		if t.Err == nil && !t.Ended.IsZero() && (won < 0 || t.Address == peer) {
			won = i
		}
	}
	if won >= 0 {
		tries[won].Won = true
	}
}

// tellingReasons says which address's failure tells most about a target that none of them reached:
// somebody answered, somebody on the way did, nobody did, there was no way.
var tellingReasons = []lifecycle.Reason{
	lifecycle.ReasonConnectionRefused, lifecycle.ReasonConnectionReset, lifecycle.ReasonAddressDenied,
	lifecycle.ReasonHostUnreachable, lifecycle.ReasonConnectTimeout, lifecycle.ReasonNetworkUnreachable,
}

// telling picks that failure; err, which net.Dialer returns, is just the first.
func telling(ctx context.Context, err error, tries []lifecycle.Try) error {
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return err // called off
	}
	best := len(tellingReasons)
	for _, t := range tries {
		if rank := slices.Index(tellingReasons, t.Reason()); rank >= 0 && rank < best {
			best, err = rank, lifecycle.Fail(tellingReasons[rank], t.Err)
		}
	}
	return err
}
