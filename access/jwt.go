package access

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"wsproxy/lifecycle"
)

// JWT lets in who has a token (RFC 7519) that one of the keys has signed.
type JWT struct {
	Keys       *Keys
	Sources    []TokenSource
	Algorithms []string // accepted; the token's own header decides nothing
	Audience   string   // empty: any
	Issuer     string   // empty: any
	Leeway     time.Duration
	NoExpiry   bool              // tokens without exp are let in
	Name       string            // claim that is the identity; empty: sub
	Claims     map[string]string // that the token must have, or, in a list or a scope, contain
	Realm      string
}

// Identify implements Method.
func (j *JWT) Identify(ctx context.Context, r *Request) (*Identity, error) {
	token := ""
	for _, s := range j.Sources {
		if token = s.find(r.Request); token != "" {
			break
		}
	}
	if token == "" {
		return nil, errNone
	}
	claims := jwt.MapClaims{}
	err := j.parse(ctx, token, claims)
	if errors.Is(err, jwkset.ErrKeyNotFound) && j.Keys.renew(ctx) {
		claims = jwt.MapClaims{}
		err = j.parse(ctx, token, claims)
	}
	switch {
	case errors.Is(err, errNoKeys):
		return nil, lifecycle.Fail(lifecycle.ReasonInternal, err)
	case err != nil:
		return nil, unauthenticated("token: %s", tokenProblem(err))
	}
	return j.identity(claims)
}

func (j *JWT) parse(ctx context.Context, token string, claims jwt.MapClaims) error {
	options := []jwt.ParserOption{jwt.WithValidMethods(j.Algorithms), jwt.WithLeeway(j.Leeway)}
	if j.Audience != "" {
		options = append(options, jwt.WithAudience(j.Audience))
	}
	if j.Issuer != "" {
		options = append(options, jwt.WithIssuer(j.Issuer))
	}
	if !j.NoExpiry {
		options = append(options, jwt.WithExpirationRequired())
	}
	keys, err := j.Keys.current()
	if err != nil {
		return err
	}
	_, err = jwt.NewParser(options...).ParseWithClaims(token, claims, keys.KeyfuncCtx(ctx))
	return err
}

func (j *JWT) identity(claims jwt.MapClaims) (*Identity, error) {
	for name, want := range j.Claims {
		if !hasClaim(claims[name], want) {
			return nil, forbidden("the token's claim %s does not allow it", name)
		}
	}
	name := j.Name
	if name == "" {
		name = "sub"
	}
	id := &Identity{Method: "jwt"}
	id.Name, _ = claims[name].(string)
	if exp, err := claims.GetExpirationTime(); err == nil && exp != nil {
		id.Expires = exp.Add(j.Leeway)
	}
	return id, nil
}

// hasClaim reports whether a claim is want, or a list that contains it (RFC 8693 §4.2 writes scope as
// words).
func hasClaim(claim any, want string) bool {
	switch v := claim.(type) {
	case string:
		return v == want || slices.Contains(strings.Fields(v), want)
	case bool:
		return want == "true" && v || want == "false" && !v
	case []any:
		return slices.ContainsFunc(v, func(e any) bool { s, ok := e.(string); return ok && s == want })
	}
	return false
}

// tokenProblem says what is wrong with a token and shows nothing of it.
func tokenProblem(err error) string {
	for _, known := range []struct {
		err  error
		text string
	}{
		{jwt.ErrTokenMalformed, "malformed"},
		{jwkset.ErrKeyNotFound, "signed with an unknown key"},
		{jwt.ErrTokenSignatureInvalid, "signature or algorithm not accepted"},
		{jwt.ErrTokenExpired, "expired"},
		{jwt.ErrTokenNotValidYet, "not valid yet"},
		{jwt.ErrTokenUsedBeforeIssued, "used before it was issued"},
		{jwt.ErrTokenInvalidAudience, "for another audience"},
		{jwt.ErrTokenInvalidIssuer, "of another issuer"},
		{jwt.ErrTokenRequiredClaimMissing, "a required claim is missing"},
		{jwt.ErrTokenUnverifiable, "no key fits"},
	} {
		if errors.Is(err, known.err) {
			return known.text
		}
	}
	return "not valid"
}

// Challenge implements Method (RFC 6750 §3).
func (j *JWT) Challenge(invalid bool) string {
	c := "Bearer realm=" + quote(j.Realm)
	if invalid {
		c += `, error="invalid_token"`
	}
	return c
}

// Strip implements Method.
func (j *JWT) Strip(r *http.Request, always bool) {
	for _, s := range j.Sources {
		s.strip(r, always)
	}
}

// quote makes a quoted-string (RFC 9110 §5.6.4).
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
