// Package frame reads RFC 6455 frame headers in passing: a Scanner walks the bytes of one direction of
// a connection, judges and counts its frames, and never touches a payload.
//
// It does no I/O, keeps no bytes, knows nothing of what an extension carries and does not judge UTF-8.
// What follows from a violation, and whether a control frame is passed on, is its caller's business.
package frame

// MaxControlPayload is the most payload, in bytes, that a control frame may have (RFC 6455 §5.5).
const MaxControlPayload = 125

// MaxHeld bounds what a Scanner asks its caller to keep, in bytes: a control frame behind the longest
// header there is.
const MaxHeld = maxHeader + MaxControlPayload

// Opcode says what a frame carries (RFC 6455 §5.2).
type Opcode uint8

const (
	OpcodeContinuation Opcode = 0x0
	OpcodeText         Opcode = 0x1
	OpcodeBinary       Opcode = 0x2
	OpcodeClose        Opcode = 0x8
	OpcodePing         Opcode = 0x9
	OpcodePong         Opcode = 0xA
)

var opcodeNames = [...]string{
	OpcodeContinuation: "continuation", OpcodeText: "text", OpcodeBinary: "binary",
	OpcodeClose: "close", OpcodePing: "ping", OpcodePong: "pong",
}

func (o Opcode) String() string {
	if o.reserved() {
		return "reserved"
	}
	return name(opcodeNames[:], o)
}

// control reports a close, ping or pong; opcodes reserved for further control frames are none of them.
func (o Opcode) control() bool { return o >= OpcodeClose && o <= OpcodePong }

func (o Opcode) reserved() bool { return o > OpcodeBinary && !o.control() }

// name looks an enum's value up in its table.
func name[E ~uint8](table []string, e E) string {
	if int(e) >= len(table) {
		return "invalid"
	}
	return table[e]
}
