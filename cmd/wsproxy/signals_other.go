//go:build !unix

package main

import (
	"net"
	"syscall"
)

// upgradeSignal never comes: there are no upgrades here.
const upgradeSignal = syscall.Signal(-1)

func unlisten(_ net.Listener, leave func()) { leave() }
