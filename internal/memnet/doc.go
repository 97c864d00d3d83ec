// Package memnet is a network in memory, for tests: connections, listeners, names, and dials that take
// their time, are refused or never answered.
//
// It does what Linux's TCP does on loopback where a proxy can tell the difference (half-close, reset,
// backpressure, which error comes first), and its dials fire httptrace's hooks as net.Dialer's do. It
// waits only on channels, sync.Cond and time, so everything runs inside testing/synctest. It loses
// nothing, delays nothing once connected, and knows no datagrams.
package memnet
