package access

import (
	"math"
	"net/netip"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// bucket is a token bucket that holds a second's worth, at least one token. The zero value never runs out.
type bucket struct{ limiter *rate.Limiter }

// set changes the rate; what the bucket holds stays, as far as there is room.
func (b *bucket) set(perSecond float64) {
	switch {
	case perSecond <= 0:
		b.limiter = nil
	case b.limiter == nil:
		b.limiter = rate.NewLimiter(rate.Limit(perSecond), burst(perSecond))
	default:
		b.limiter.SetLimit(rate.Limit(perSecond))
		b.limiter.SetBurst(burst(perSecond))
	}
}

func burst(perSecond float64) int { return int(max(math.Ceil(perSecond), 1)) }

// take takes a token, or says after which time there would be one.
func (b *bucket) take(now time.Time) (wait time.Duration) {
	if b.limiter == nil {
		return 0
	}
	r := b.limiter.ReserveN(now, 1)
	if wait = r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
	}
	return wait
}

// buckets is one for each client. The zero value has no limit.
type buckets struct {
	perSecond float64
	recent    *simplelru.LRU[netip.Prefix, *bucket]
}

// clientsKept is how many clients' buckets are kept. One that was forgotten has a full one.
const clientsKept = 16 << 10

func (b *buckets) set(perSecond float64) {
	if perSecond != b.perSecond {
		b.perSecond, b.recent = perSecond, nil
	}
}

func (b *buckets) take(client netip.Prefix, now time.Time) (wait time.Duration) {
	if b.perSecond <= 0 {
		return 0
	}
	if b.recent == nil {
		b.recent, _ = simplelru.NewLRU[netip.Prefix, *bucket](clientsKept, nil) // the size is right
	}
	of, ok := b.recent.Get(client)
	if !ok {
		of = new(bucket)
		of.set(b.perSecond)
		b.recent.Add(client, of)
	}
	return of.take(now)
}
