package lifecycle

import "context"

type baggageKey struct{}

// AllowBaggage returns a ctx under which these keys of a trusted client's baggage (W3C Baggage) may go on to the
// upstream. Without it none does: whatever is in there would reach everyone behind it.
func AllowBaggage(ctx context.Context, keys []string) context.Context {
	if len(keys) == 0 {
		return ctx
	}
	return context.WithValue(ctx, baggageKey{}, keys)
}

// AllowedBaggage are the keys that AllowBaggage gave.
func AllowedBaggage(ctx context.Context) []string {
	keys, _ := ctx.Value(baggageKey{}).([]string)
	return keys
}
