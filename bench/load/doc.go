// Package load is the clients' side of every measurement: it drives a proxy with frames made in advance
// and tells what that cost the proxy. It starts no processes and writes no tables. It needs Linux.
package load
