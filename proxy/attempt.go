package proxy

import (
	"context"
	"slices"

	"wsproxy/lifecycle"
)

// reach brings the handshake to a target and returns its answer. Until the handshake was sent no
// application knows of it, so another target may be tried; afterwards only where the route names the
// answer. A nil answer comes with an error.
func (u *upgrade) reach(ctx context.Context) (*answer, error) {
	var tried []string
	for {
		a, err := u.attempt(ctx)
		if err == nil && !slices.Contains(u.route.RetryOn, a.StatusCode) {
			return a, nil
		}
		tried = append(tried, u.target.id())
		again := u.upstream == nil || err == nil
		if ctx.Err() != nil || u.forward != nil || !again || len(tried) > u.route.Retries || !u.next(err, a, tried) {
			return a, err
		}
	}
}

// attempt dials the target and exchanges handshakes with it. The upgrade phase is under way when there is
// an answer.
func (u *upgrade) attempt(ctx context.Context) (*answer, error) {
	if u.upstream == nil {
		conn, err := u.target.Dial(ctx)
		if err != nil {
			return nil, err
		}
		u.upstream = conn
	}
	conn := u.upstream
	ctx = u.begin(ctx, &lifecycle.Step{
		Phase: lifecycle.PhaseUpgrade, Host: u.target.Address, Peer: conn.RemoteAddr().String(), EgressName: u.record.Facts().Egress,
	})
	host := u.r.Host
	if u.route.OwnHost {
		host = u.target.Host
	}
	head := u.server.requestHead(ctx, u.r, u.visit(), host)
	a, err := exchange(ctx, conn, u.r, head.Bytes())
	releaseHead(head)
	if err != nil {
		return nil, u.end(err)
	}
	u.step.Status = a.StatusCode
	return a, nil
}

// next goes on to another target after one that failed, or that answered a. False if there is none.
func (u *upgrade) next(err error, a *answer, tried []string) bool {
	var why *lifecycle.Failure
	if a != nil {
		why = a.rejection()
	} else {
		why = failure(err)
	}
	lease := u.lease
	if u.pick(tried, why) != nil {
		return false
	}
	if a != nil {
		why = failure(u.end(why))
		u.upstream.Close()
		u.upstream = nil
	}
	lease.Failed(why)
	u.record.NextAttempt()
	return true
}

// rejection is the failure that an answer other than 101 is.
func (a *answer) rejection() *lifecycle.Failure {
	f := lifecycle.Failf(lifecycle.ReasonUpgradeRejected, "upstream answered %d", a.StatusCode)
	f.Status = a.StatusCode
	return f
}
