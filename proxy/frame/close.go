package frame

import (
	"encoding/binary"
	"unicode/utf8"
)

// CloseCode is the status code of a Close frame (RFC 6455 §7.4 and the IANA registry).
type CloseCode uint16

const (
	CloseNone               CloseCode = 0 // a Close frame without a code
	CloseNormal             CloseCode = 1000
	CloseGoingAway          CloseCode = 1001
	CloseProtocolError      CloseCode = 1002
	CloseUnsupportedData    CloseCode = 1003
	CloseNoStatusReceived   CloseCode = 1005 // never on the wire
	CloseAbnormal           CloseCode = 1006 // never on the wire
	CloseInvalidPayload     CloseCode = 1007
	ClosePolicyViolation    CloseCode = 1008
	CloseMessageTooBig      CloseCode = 1009
	CloseMandatoryExtension CloseCode = 1010
	CloseInternalError      CloseCode = 1011
	CloseServiceRestart     CloseCode = 1012
	CloseTryAgainLater      CloseCode = 1013
	CloseBadGateway         CloseCode = 1014
	CloseTLSHandshake       CloseCode = 1015 // never on the wire
)

// Valid reports whether the code may stand in a Close frame.
func (c CloseCode) Valid() bool {
	switch {
	case c >= CloseNormal && c <= CloseUnsupportedData:
		return true
	case c >= CloseInvalidPayload && c <= CloseBadGateway:
		return true
	}
	return c >= 3000 && c <= 4999
}

// ParseClose reads an unmasked Close payload. An empty one is ok and has CloseNone; one of a single
// byte is not; with a code that is not Valid, code and reason are returned all the same. The reason
// is part of payload and may be anything, not only UTF-8.
func ParseClose(payload []byte) (code CloseCode, reason []byte, ok bool) {
	if len(payload) < 2 {
		return CloseNone, nil, len(payload) == 0
	}
	code = CloseCode(binary.BigEndian.Uint16(payload))
	return code, payload[2:], code.Valid()
}

// AppendClose appends a Close frame to dst. A nil mask leaves it unmasked. A code that is not Valid,
// CloseNone for one, gives a Close without code and reason. The reason should be UTF-8; it is cut to
// the 123 bytes that fit, between two characters.
func AppendClose(dst []byte, code CloseCode, reason string, mask *[4]byte) []byte {
	if !code.Valid() {
		return appendControl(dst, OpcodeClose, nil, mask)
	}
	var payload [MaxControlPayload]byte
	binary.BigEndian.PutUint16(payload[:], uint16(code))
	n := copy(payload[2:], cutReason(reason))
	return appendControl(dst, OpcodeClose, payload[:2+n], mask)
}

func cutReason(reason string) string {
	const most = MaxControlPayload - 2
	if len(reason) <= most {
		return reason
	}
	end := most
	for end > most-utf8.UTFMax && !utf8.RuneStart(reason[end]) {
		end--
	}
	return reason[:end]
}
