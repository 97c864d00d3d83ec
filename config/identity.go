package config

import "strings"

// Identity is what of a request tells who the client is: address, or a part of it with a name.
type Identity string

// UnmarshalText implements encoding.TextUnmarshaler.
func (i *Identity) UnmarshalText(text []byte) error {
	*i = Identity(text)
	kind, name, named := strings.Cut(string(text), ":")
	switch {
	case kind == "address" && !named:
		return nil
	case kind == "cookie" && validToken(name), kind == "header" && validToken(name), kind == "query" && name != "":
		return nil
	}
	return &wanted{what: "cookie:NAME, header:NAME, query:NAME or address", suggestion: closest(string(text), []string{"address"})}
}

// Parts are the kind, which is cookie, header, query or address, and the name.
func (i Identity) Parts() (kind, name string) {
	kind, name, _ = strings.Cut(string(i), ":")
	return kind, name
}

// validToken reports whether text is a token of RFC 9110 §5.6.2.
func validToken(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return !alphanumeric(r) && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}
