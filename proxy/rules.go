package proxy

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// HeaderRules change the headers of what is passed on: first Remove, then Set, then Add. Values may have
// the variables of HeaderVariables in braces; a header whose value is empty then is not there at all.
type HeaderRules struct {
	Set, Add map[string]string
	Remove   []string

	compiled []headerRule
}

type headerRule struct {
	name     string
	add      bool
	value    string
	variable bool // value has some
}

// HeaderVariables are what values of HeaderRules may name, as in {identity}.
func HeaderVariables() []string {
	return []string{"client_address", "connection_id", "host", "identity", "identity_hash", "route", "scheme", "tls_subject_hash"}
}

var headerVariable = regexp.MustCompile(`\{[a-z_]+\}`)

// CheckHeaderValue says what is wrong with the value of a rule. Braces around anything but lower case letters
// are just braces.
func CheckHeaderValue(value string) error {
	for _, v := range headerVariable.FindAllString(value, -1) {
		if !slices.Contains(HeaderVariables(), strings.Trim(v, "{}")) {
			return fmt.Errorf("no variable %s; there are %s", v, strings.Join(HeaderVariables(), ", "))
		}
	}
	if !httpguts.ValidHeaderFieldValue(value) {
		return fmt.Errorf("control characters, which a header can't have")
	}
	return nil
}

// CheckHeaderRule says whether a rule may be about a header: those of one hop, of the handshake and of the
// body are not for rules to change.
func CheckHeaderRule(name string) error {
	canonical := http.CanonicalHeaderKey(name)
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		return fmt.Errorf("%q is not the name of a header", name)
	case canonical == "Host":
		return fmt.Errorf("header Host is what preserve_host decides about")
	case slices.Contains(hopByHop, canonical), canonical == "Content-Length", strings.HasPrefix(canonical, "Sec-Websocket-"):
		return fmt.Errorf("%s belongs to the connection or the handshake", canonical)
	}
	return nil
}

func (h *HeaderRules) compile() error {
	h.compiled = nil
	for _, rules := range []struct {
		of  map[string]string
		add bool
	}{{h.Set, false}, {h.Add, true}} {
		for name, value := range rules.of {
			if err := CheckHeaderRule(name); err != nil {
				return err
			}
			if err := CheckHeaderValue(value); err != nil {
				return fmt.Errorf("header %s: %w", name, err)
			}
			h.compiled = append(h.compiled, headerRule{http.CanonicalHeaderKey(name), rules.add, value, headerVariable.MatchString(value)})
		}
	}
	slices.SortFunc(h.compiled, func(a, b headerRule) int { return strings.Compare(a.name, b.name) })
	for _, name := range h.Remove {
		if err := CheckHeaderRule(name); err != nil {
			return err
		}
	}
	return nil
}

// apply changes headers for a visit.
func (h *HeaderRules) apply(to http.Header, v *visit) {
	for _, name := range h.Remove {
		to.Del(name)
	}
	for _, add := range []bool{false, true} {
		for _, r := range h.compiled {
			if r.add == add {
				r.apply(to, v)
			}
		}
	}
}

func (r *headerRule) apply(to http.Header, v *visit) {
	value := r.value
	if r.variable {
		value = headerVariable.ReplaceAllStringFunc(value, func(name string) string { return v.variable(strings.Trim(name, "{}")) })
	}
	if !r.add {
		to.Del(r.name)
	}
	if value != "" && httpguts.ValidHeaderFieldValue(value) {
		to.Add(r.name, value)
	}
}

// visit is a request and how it came to be had.
type visit struct {
	origin     origin
	in         *inbound
	admission  *Admission // nil where everyone is let in
	route      *Route     // nil in forward mode
	connection string     // id; empty of a plain request
}

// request and response change what is passed on by the route's rules.
func (v *visit) request(h http.Header) {
	if v.route != nil {
		v.route.RequestHeaders.apply(h, v)
	}
}

func (v *visit) response(h http.Header) {
	if v.route != nil {
		v.route.ResponseHeaders.apply(h, v)
	}
}

func (v *visit) variable(name string) string {
	a := v.admission
	if a == nil {
		a = &Admission{}
	}
	switch name {
	case "client_address":
		if ip, ok := parseAddress(v.origin.client); ok {
			return ip.String()
		}
	case "connection_id":
		return v.connection
	case "host":
		return v.origin.host
	case "identity":
		return a.Identity
	case "identity_hash":
		return a.Hash
	case "route":
		return v.route.Name
	case "scheme":
		return v.origin.scheme
	case "tls_subject_hash":
		if v.in.tls != nil {
			return v.in.tls.ClientSubject
		}
	}
	return ""
}
