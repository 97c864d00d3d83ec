// Package lifecycle knows what a proxied connection goes through: its phases, why one fails, why a
// connection ends, and which connections are alive.
//
// The data plane reports to it; spans, metrics, logs and the admin pages are observers of it, so
// whatever one of them shows, the others show with the same names and the same clock readings. It
// does no I/O, sets no policy and imports the standard library only.
package lifecycle
