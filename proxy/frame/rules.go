package frame

import "cmp"

// Mode says what a Scanner does about violations. The zero value enforces.
type Mode uint8

const (
	ModeStrict  Mode = iota // the first violation ends the scan
	ModeObserve             // violations are counted and pass
	ModeOff                 // nothing is parsed, only bytes are counted
)

var modeNames = [...]string{"strict", "observe", "off"}

func (m Mode) String() string { return name(modeNames[:], m) }

// Rules are what one direction of a connection agreed on.
type Rules struct {
	Masked  bool // frames must be masked, as from a client; if false they must not be
	Deflate bool // permessage-deflate was negotiated: a message's first frame may have RSV1
	Lenient bool // another extension was negotiated: RSV bits and reserved opcodes are not judged
	Mode    Mode
}

// Limits bound the payload of frames and messages, in bytes; 0 is no limit.
type Limits struct {
	Frame, Message uint64
}

// smaller is the size up to which a message of one frame is within both.
func (l *Limits) smaller() uint64 {
	if l == nil {
		return endless
	}
	return min(cmp.Or(l.Frame, endless), cmp.Or(l.Message, endless))
}

// exceeded reports whether a frame is too big, or makes its message so, of which size bytes came before.
func (l *Limits) exceeded(h header, size uint64) bool {
	switch {
	case l == nil:
		return false
	case l.Frame > 0 && h.length > l.Frame:
		return true
	case l.Message == 0 || h.opcode() > OpcodeBinary:
		return false
	case h.opcode() != OpcodeContinuation:
		size = 0
	}
	return h.length > l.Message || size > l.Message-h.length
}

// Violation is a rule that a frame breaks. One that breaks several is counted under the first of them,
// in the order here. The names are values of a metric's label.
type Violation uint8

const (
	ViolationNone                   Violation = iota
	ViolationLengthOverflow                   // the payload's length has its top bit set
	ViolationMaskMissing                      // an unmasked frame from a client
	ViolationMaskUnexpected                   // a masked frame from a server
	ViolationReservedBits                     // RSV bits that nobody negotiated, or not on this frame
	ViolationReservedOpcode                   //
	ViolationControlFragmented                // a control frame without FIN
	ViolationControlTooLong                   // a control frame with more than MaxControlPayload
	ViolationUnexpectedContinuation           // a continuation of no message
	ViolationUnfinishedMessage                // a message begun inside a fragmented one
	ViolationLengthNotMinimal                 // the payload's length takes more bytes than it needs
	ViolationClosePayloadOneByte              // half a close code
	ViolationCloseCodeInvalid                 // a close code that may not be sent
	violationCount
)

// ViolationKinds is the number of values of Violation, ViolationNone included.
const ViolationKinds = int(violationCount)

var violationNames = [violationCount]string{
	"none", "length_overflow", "mask_missing", "mask_unexpected", "reserved_bits", "reserved_opcode",
	"control_fragmented", "control_too_long", "unexpected_continuation", "unfinished_message",
	"length_not_minimal", "close_payload_one_byte", "close_code_invalid",
}

func (v Violation) String() string { return name(violationNames[:], v) }

// judge holds a header against the rules; inMessage says whether a fragmented message is open.
func (r Rules) judge(h header, inMessage bool) Violation {
	op := h.opcode()
	switch {
	case h.length > maxLength:
		return ViolationLengthOverflow
	case r.Masked && !h.masked():
		return ViolationMaskMissing
	case !r.Masked && h.masked():
		return ViolationMaskUnexpected
	case !r.Lenient && h.first&rsvBits&^r.allowedBits(op) != 0:
		return ViolationReservedBits
	case !r.Lenient && op.reserved():
		return ViolationReservedOpcode
	case op.control() && !h.fin():
		return ViolationControlFragmented
	case op.control() && h.length > MaxControlPayload:
		return ViolationControlTooLong
	case op == OpcodeContinuation && !inMessage:
		return ViolationUnexpectedContinuation
	case (op == OpcodeText || op == OpcodeBinary) && inMessage:
		return ViolationUnfinishedMessage
	case !h.minimal():
		return ViolationLengthNotMinimal
	}
	return ViolationNone
}

// allowedBits are the RSV bits a frame may have: RFC 7692 §6 has RSV1 on a message's first frame only.
func (r Rules) allowedBits(op Opcode) byte {
	if r.Deflate && (op == OpcodeText || op == OpcodeBinary) {
		return rsv1Bit
	}
	return 0
}

// judgeClose holds the payload of a whole Close frame against RFC 6455 §5.5.1 and §7.4.
func judgeClose(f Control) Violation {
	if len(f.Payload) == 1 {
		return ViolationClosePayloadOneByte
	}
	var buf [MaxControlPayload]byte
	if _, _, ok := ParseClose(f.Unmasked(&buf)); !ok {
		return ViolationCloseCodeInvalid
	}
	return ViolationNone
}
