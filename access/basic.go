package access

import (
	"context"
	"net/http"
	"net/url"
)

// Basic lets in the users of a password file (RFC 7617).
type Basic struct {
	Passwords *Passwords
	Realm     string
}

// Identify implements Method.
func (b *Basic) Identify(ctx context.Context, r *Request) (*Identity, error) {
	user, password, ok := r.BasicAuth()
	if !ok {
		return nil, errNone
	}
	if err := b.Passwords.Check(ctx, r.Client, user, password); err != nil {
		return nil, err
	}
	return &Identity{Method: "basic", Name: user}, nil
}

// Challenge implements Method.
func (b *Basic) Challenge(bool) string { return "Basic realm=" + quote(b.Realm) + `, charset="UTF-8"` }

// Strip implements Method.
func (b *Basic) Strip(r *http.Request, always bool) {
	if _, _, ok := r.BasicAuth(); ok && !always {
		r.Header.Del("Authorization")
	}
}

func unescape(s string) (string, error) { return url.QueryUnescape(s) }
