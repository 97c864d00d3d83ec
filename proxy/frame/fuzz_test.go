package frame

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

// everyCaller is each combination of rules and of what a relay may do with what it finds.
func everyCaller(yield func(caller) bool) {
	for bits := range uint8(96) {
		if !yield(callerOf(bits)) {
			return
		}
	}
}

func callerOf(bits uint8) caller {
	return caller{
		rules: Rules{
			Masked: bits&1 != 0, Deflate: bits&2 != 0, Lenient: bits&4 != 0,
			Mode: Mode(bits / 32 % 3),
		},
		dropPongs: bits&8 != 0,
		relax:     bits&16 != 0,
	}
}

// requireSame holds what a Scanner makes of stream, cut at random, against the reference.
func requireSame(t *testing.T, cl caller, stream []byte, seed uint64) {
	t.Helper()
	want := cl.refer(stream)
	got, err := cl.relay(stream, rand.New(rand.NewPCG(seed, 0)))
	if err != nil {
		t.Fatal(err)
	}
	if string(got.passed) != string(want.passed) {
		t.Errorf("%+v: got %d bytes passed, want %d", cl, len(got.passed), len(want.passed))
	}
	if string(got.left) != string(want.left) {
		t.Errorf("%+v: got %x left, want %x", cl, got.left, want.left)
	}
	got.passed, got.left, want.passed, want.left = nil, nil, nil, nil
	if cl.rules.Mode == ModeStrict && !cl.relax { // it stops at a violation, and Headers does not judge
		got.headers, want.headers = nil, nil
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v:\n got %+v\nwant %+v", cl, got, want)
	}
}

func TestScanDoesNotDependOnCuts(t *testing.T) {
	for cl := range everyCaller {
		for seed := range uint64(15) {
			r := rand.New(rand.NewPCG(seed, 1))
			faulty := []int{3, 20, 1 << 30}[seed%3]
			requireSame(t, cl, randomStream(r, cl.rules, 1+r.IntN(60), faulty), seed)
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
	}
}

func FuzzScan(f *testing.F) {
	for i, test := range ruleTests {
		stream := append(frames(test.before...), test.frame.bytes()...)
		if len(stream) > 1000 {
			continue // slow to mutate, and the length is found without it
		}
		f.Add(append(stream, stream...), uint8(i*7), uint64(i))
	}
	f.Fuzz(func(t *testing.T, stream []byte, bits uint8, cuts uint64) {
		requireSame(t, callerOf(bits), stream, cuts)
	})
}
