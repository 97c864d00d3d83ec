package proxy

import (
	"strings"
)

// forwarder is an element of a Forwarded header (RFC 7239 §4), or an address of X-Forwarded-For.
type forwarder struct{ from, host, proto string }

// forwardedHops reads Forwarded, nil if it is not well formed: then nothing in it can be believed.
func forwardedHops(values []string) []forwarder {
	var all []forwarder
	for _, element := range splitQuoted(strings.Join(values, ","), ',') {
		if strings.TrimSpace(element) == "" {
			continue
		}
		var h forwarder
		for _, pair := range splitQuoted(element, ';') {
			name, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
			if !ok {
				return nil
			}
			value = unquote(value)
			switch strings.ToLower(name) {
			case "for":
				h.from = value
			case "host":
				h.host = value
			case "proto":
				h.proto = strings.ToLower(value)
			}
		}
		all = append(all, h)
	}
	return all
}

// splitQuoted splits at separators outside of quoted strings.
func splitQuoted(s string, separator byte) []string {
	var parts []string
	begin, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == separator && !quoted:
			parts = append(parts, s[begin:i])
			begin = i + 1
		}
	}
	return append(parts, s[begin:])
}

func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	var b strings.Builder
	for i := 1; i < len(s)-1; i++ {
		if s[i] == '\\' && i+1 < len(s)-1 {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// at is the entry of a list that belongs to the hop that many places from the right: each hop appends one, or
// there is only one, which all of them passed on.
func at(list []string, fromRight int) string {
	if len(list) == 0 {
		return ""
	}
	return list[len(list)-1-min(fromRight, len(list)-1)]
}
