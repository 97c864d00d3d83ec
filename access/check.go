package access

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"wsproxy/lifecycle"
)

// Check asks an HTTP service whether a client may come in: any 2xx says yes, 401 and 403 say no. Whatever
// else happens, nobody comes in.
type Check struct {
	URL      string
	Method   string   // empty: GET
	Headers  []string // of the client's request that the service gets
	Copy     []string // of the service's answer that the upstream gets, in place of the client's
	Name     string   // header of the answer with the identity; empty: none
	Timeout  time.Duration
	Interval time.Duration // between repeated questions about an open connection; 0: it is asked once
	Client   *http.Client
}

// maxCheckBody is how much of an answer is read, so that its connection can be used again.
const maxCheckBody = 64 << 10

// question is what the service is told of a client.
type question http.Header

func (c *Check) ask(ctx context.Context, r *Request, id *Identity) (*Identity, http.Header, error) {
	return c.send(ctx, c.keep(r), id)
}

// keep is what is needed to ask about r, later and again.
func (c *Check) keep(r *Request) question {
	h := http.Header{}
	for _, name := range c.Headers {
		if v := r.Header.Values(name); len(v) > 0 {
			h[http.CanonicalHeaderKey(name)] = v
		}
	}
	h.Set("X-Forwarded-Method", r.Method)
	h.Set("X-Forwarded-Proto", r.Scheme)
	h.Set("X-Forwarded-Host", r.Host)
	h.Set("X-Forwarded-Uri", r.URL.RequestURI())
	if r.Client.IsValid() {
		h.Set("X-Forwarded-For", r.Client.String())
	}
	return question(h)
}

func (c *Check) send(ctx context.Context, q question, id *Identity) (*Identity, http.Header, error) {
	asked := ctx
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	method := c.Method
	if method == "" {
		method = http.MethodGet
	}
	r, err := http.NewRequestWithContext(ctx, method, c.URL, nil)
	if err != nil {
		return nil, nil, lifecycle.Fail(lifecycle.ReasonInternal, err)
	}
	r.Header = http.Header(q).Clone()
	r.Header.Del("X-Authenticated-Identity")
	if id != nil && id.Name != "" {
		r.Header.Set("X-Authenticated-Identity", id.Name)
	}
	resp, err := c.Client.Do(r)
	if asked.Err() != nil {
		return nil, nil, context.Cause(asked)
	}
	if err != nil {
		return nil, nil, lifecycle.Failf(lifecycle.ReasonInternal, "authentication check: %w", withoutURL(err))
	}
	defer resp.Body.Close()
	io.CopyN(io.Discard, resp.Body, maxCheckBody)
	switch {
	case resp.StatusCode/100 == 2:
		return c.named(resp.Header), resp.Header, nil
	case resp.StatusCode == http.StatusUnauthorized:
		f := unauthenticated("the authentication check said no")
		f.Challenges = resp.Header.Values("WWW-Authenticate")
		return nil, nil, f
	case resp.StatusCode == http.StatusForbidden:
		return nil, nil, forbidden("the authentication check said no")
	}
	return nil, nil, lifecycle.Fail(lifecycle.ReasonInternal, fmt.Errorf("authentication check: status %d, want 2xx, 401 or 403", resp.StatusCode))
}

func (c *Check) named(h http.Header) *Identity {
	if c.Name == "" || h.Get(c.Name) == "" {
		return nil
	}
	return &Identity{Method: "check", Name: h.Get(c.Name)}
}

// copyTo gives the upstream what the service said, and nothing of that name that the client said.
func (c *Check) copyTo(upstream, answer http.Header) {
	for _, name := range c.Copy {
		upstream.Del(name)
		for _, v := range answer.Values(name) {
			upstream.Add(name, v)
		}
	}
}

// withoutURL is why a request failed, without its URL, which may hold a secret.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
