// Package upstream chooses which of an upstream's targets a connection goes to: it looks up where they
// are, knows which of them are fit, and balances between those.
//
// It dials none for a connection: that is egress's business. Its checks go through a dialler that it is
// given.
package upstream
