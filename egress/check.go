package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"wsproxy/lifecycle"
)

// check judges an address of the target, ip:port. What can't be judged is denied.
func (a *attempt) check(address string) error {
	host, _, err := net.SplitHostPort(a.target.Address)
	if err != nil {
		return lifecycle.Fail(lifecycle.ReasonAddressDenied, err)
	}
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return lifecycle.Fail(lifecycle.ReasonAddressDenied, err)
	}
	err = a.Check(addr, host)
	if _, ok := errors.AsType[*lifecycle.Failure](err); err != nil && !ok {
		err = lifecycle.Fail(lifecycle.ReasonAddressDenied, err)
	}
	return err
}

// screen judges addresses of the target that an egress would be given. The failure is that of a connect
// phase, as it is where we dial ourselves.
func (a *attempt) screen(ctx context.Context, addresses ...string) error {
	if a.Check == nil {
		return nil
	}
	for _, address := range addresses {
		begun := time.Now()
		err := a.check(address)
		if err == nil {
			continue
		}
		step := &lifecycle.Step{Phase: lifecycle.PhaseConnect, Hop: lifecycle.HopTarget, Begun: begun}
		step.Tries = []lifecycle.Try{{Address: address, Begun: begun, Ended: time.Now(), Err: err}}
		return a.begin(ctx, step).end(nil, err)
	}
	return nil
}

// checks says whether the addresses dialled are to be judged.
func (w *watch) checks() bool { return w.attempt.Check != nil && w.hop == lifecycle.HopTarget }

// dialer judges once more right before the SYN, whatever way the address came.
func (w *watch) dialer() *net.Dialer {
	d := &net.Dialer{Resolver: w.attempt.Resolver}
	if w.checks() {
		d.ControlContext = func(_ context.Context, _, address string, _ syscall.RawConn) error {
			return w.attempt.check(address)
		}
	}
	return d
}

// try judges a connection to the target, once more if the dialler was ours, and introduces the client.
func (w *watch) try(conn net.Conn) error {
	if w.checks() {
		if err := w.attempt.check(conn.RemoteAddr().String()); err != nil {
			return err
		}
	}
	return unheard(w.attempt.introduce(conn))
}

// judge gives the dial up if one of the addresses found is denied: a name that leads to a place that is
// allowed and to one that is not has no good reason to. The caller holds mu.
func (w *watch) judge(found []net.IPAddr) {
	_, port, err := net.SplitHostPort(w.address)
	if err != nil {
		return // no dial can come of it
	}
	for _, ip := range found {
		try := lifecycle.Try{Address: net.JoinHostPort(ip.String(), port), Begun: time.Now()}
		if w.unfit = w.attempt.check(try.Address); w.unfit != nil {
			try.Ended, try.Err = time.Now(), w.unfit
			w.tries = append(w.tries, try)
			w.cancel()
			return
		}
	}
}
