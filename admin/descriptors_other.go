//go:build !linux

package admin

func openDescriptors() *descriptors { return nil }
