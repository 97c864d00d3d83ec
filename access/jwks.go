package access

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"golang.org/x/time/rate"
)

// Keys are those that tokens may be signed with, a JSON Web Key Set (RFC 7517) from a file or a URL.
type Keys struct {
	file, url string
	client    *http.Client
	log       *slog.Logger

	set     atomic.Pointer[keyfunc.Keyfunc] // nil until it was had
	refresh time.Duration

	mu      sync.Mutex // one fetch at a time; guards below
	unknown *rate.Limiter
	fetched time.Time
}

const (
	maxKeySet    = 1 << 20
	fetchTimeout = 10 * time.Second

	// A token with an unknown key may be signed with one that is new: the set is fetched again, but
	// not more often than this, whatever clients send.
	unknownEvery = 30 * time.Second

	retryFirst = time.Second // after a fetch that failed, doubling up to the interval
)

var errNoKeys = errors.New("the key set was not to be had yet")

// OpenKeys reads a key set from a file.
func OpenKeys(path string) (*Keys, error) {
	k := &Keys{file: path}
	_, err := k.Reload()
	return k, err
}

// FetchKeys takes a key set from a URL, every interval while Run runs. client may be nil.
func FetchKeys(url string, every time.Duration, client *http.Client, log *slog.Logger) *Keys {
	if client == nil {
		client = &http.Client{}
	}
	return &Keys{url: url, client: client, log: log, refresh: every, unknown: rate.NewLimiter(rate.Every(unknownEvery), 1)}
}

// Files are those to reload for.
func (k *Keys) Files() []string {
	if k.file == "" {
		return nil
	}
	return []string{k.file}
}

// Reload reads the file anew. One that is bad changes nothing.
func (k *Keys) Reload() (changed bool, err error) {
	if k.file == "" {
		return false, nil
	}
	data, err := readLimited(k.file, maxKeySet)
	if err != nil {
		return false, err
	}
	if err := k.take(data); err != nil {
		return false, fmt.Errorf("%s: %w", k.file, err)
	}
	return true, nil
}

// take replaces the set. The error shows nothing of the data, which may have secret keys.
func (k *Keys) take(data []byte) error {
	set, err := keyfunc.NewJWKSetJSON(data)
	if err != nil {
		return errors.New("not a JSON Web Key Set with keys of a kind that is known")
	}
	k.set.Store(&set)
	return nil
}

func (k *Keys) current() (keyfunc.Keyfunc, error) {
	if set := k.set.Load(); set != nil {
		return *set, nil
	}
	return nil, errNoKeys
}

// Run fetches the set now and every interval, until ctx ends. It is for a URL; a file needs none.
func (k *Keys) Run(ctx context.Context) {
	if k.url == "" {
		return
	}
	retry := retryFirst
	for {
		wait := k.refresh
		if err := k.fetch(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			wait = min(retry, k.refresh)
			retry = min(2*retry, k.refresh)
			k.log.Warn("key set was not fetched; the former one stays", "url", k.url, "error", err, "retry_in", wait)
		} else {
			retry = retryFirst
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// renew fetches the set because a key is not in it, unless that was done a moment ago. It reports whether
// there may be other keys now.
func (k *Keys) renew(ctx context.Context) bool {
	if k.url == "" {
		return false
	}
	asked := time.Now()
	k.mu.Lock()
	again, allowed := k.fetched.After(asked), true
	if !again {
		allowed = k.unknown.Allow()
	}
	k.mu.Unlock()
	if again || !allowed {
		return again
	}
	return k.fetch(ctx) == nil
}

func (k *Keys) fetch(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := k.client.Do(r)
	if err != nil {
		return withoutURL(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d, want 200", resp.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxKeySet+1))
	switch {
	case err != nil:
		return err
	case len(data) > maxKeySet:
		return errors.New("larger than 1 MiB")
	}
	if err := k.take(data); err != nil {
		return err
	}
	k.fetched = time.Now()
	return nil
}
