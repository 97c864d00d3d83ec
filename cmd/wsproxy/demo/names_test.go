package demo

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func TestNames(t *testing.T) {
	const slow = 30 * time.Millisecond
	c := troupe(t, waits{lookup: slow})
	overTCP := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
		return c.Resolver().Dial(ctx, "tcp", address)
	}}
	cases := map[string]struct {
		resolver *net.Resolver
		name     string
		want     []string // nil: not found
		least    time.Duration
	}{
		"echo":            {c.Resolver(), echoName, []string{loopback}, 0},
		"in capitals":     {c.Resolver(), "ECHO.demo", []string{loopback}, 0},
		"proxy":           {c.Resolver(), proxyName, []string{loopback}, 0},
		"slow":            {c.Resolver(), slowName, []string{loopback}, slow},
		"unknown":         {c.Resolver(), unknownName, nil, 0},
		"echo over TCP":   {overTCP, echoName, []string{loopback}, 0},
		"missing by TCP":  {overTCP, unknownName, nil, 0},
		"somebody else's": {c.Resolver(), "example.com", nil, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			begun := time.Now()
			got, err := tc.resolver.LookupHost(t.Context(), tc.name)
			if took := time.Since(begun); took < tc.least {
				t.Errorf("got an answer after %s, want at least %s", took, tc.least)
			}
			if tc.want == nil {
				if e, ok := errors.AsType[*net.DNSError](err); !ok || !e.IsNotFound {
					t.Fatalf("got %v, %v, want not found", got, err)
				}
				return
			}
			if err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("got %v, %v, want %v", got, err, tc.want)
			}
		})
	}
}

func FuzzAnswer(f *testing.F) {
	for _, name := range []string{echoName, unknownName} {
		m := dnsmessage.Message{Questions: []dnsmessage.Question{{
			Name: dnsmessage.MustNewName(name + "."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
		}}}
		packed, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	f.Add([]byte{0, 1, 2})
	c := &Cast{ctx: f.Context()}
	f.Fuzz(func(t *testing.T, question []byte) {
		answer := c.answer(question)
		if answer == nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(answer); err != nil || !m.Response || [2]byte(answer[:2]) != [2]byte(question[:2]) {
			t.Errorf("got %x (%v) for %x, want a response to it", answer, err, question)
		}
	})
}
