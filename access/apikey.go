package access

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
)

// APIKeys lets in who has a key of a file. The file has the SHA-256 of each, so that it gives none away.
// Keys are expected to be long and random; people's passwords belong into a Passwords file.
type APIKeys struct {
	Source TokenSource
	file   string
	keys   atomic.Pointer[[]apiKey]
}

type apiKey struct {
	name   string
	digest [sha256.Size]byte
}

const (
	maxAPIKeys     = 10_000
	maxAPIKeysFile = 2 << 20
)

// OpenAPIKeys reads a file with a NAME:SHA256 on each line, the digest in hex; empty lines and #comments
// are left out. The error names every line that is wrong, and no digest.
func OpenAPIKeys(path string, source TokenSource) (*APIKeys, error) {
	a := &APIKeys{Source: source, file: path}
	_, err := a.Reload()
	return a, err
}

// Files are those to reload for.
func (a *APIKeys) Files() []string { return []string{a.file} }

// Reload reads the file anew and says whether it has changed. A file that is bad changes nothing.
func (a *APIKeys) Reload() (changed bool, err error) {
	data, err := readLimited(a.file, maxAPIKeysFile)
	if err != nil {
		return false, err
	}
	keys, err := parseAPIKeys(a.file, data)
	if err != nil {
		return false, err
	}
	before := a.keys.Swap(&keys)
	return before == nil || !equalKeys(*before, keys), nil
}

func equalKeys(a, b []apiKey) bool {
	same := len(a) == len(b)
	for i := 0; same && i < len(a); i++ {
		same = a[i] == b[i]
	}
	return same
}

func parseAPIKeys(path string, data []byte) ([]apiKey, error) {
	var keys []apiKey
	var problems []error
	number := 0
	for line := range bytes.Lines(data) {
		number++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		name, digest, _ := bytes.Cut(line, []byte(":"))
		k := apiKey{name: string(name)}
		if n, err := hex.Decode(k.digest[:], digest[:min(len(digest), 2*sha256.Size)]); err != nil || n != sha256.Size || len(digest) != 2*sha256.Size || k.name == "" {
			problems = append(problems, fmt.Errorf("%s:%d: want NAME:SHA256, as printf %%s KEY | sha256sum gives it", path, number))
		}
		keys = append(keys, k)
		if len(keys) > maxAPIKeys || len(problems) == maxComplaints {
			problems = append(problems, fmt.Errorf("%s: stopped at line %d; at most %d keys are read", path, number, maxAPIKeys))
			break
		}
	}
	return keys, errors.Join(problems...)
}

// Identify implements Method.
func (a *APIKeys) Identify(_ context.Context, r *Request) (*Identity, error) {
	key := a.Source.find(r.Request)
	if key == "" {
		return nil, errNone
	}
	digest := sha256.Sum256([]byte(key))
	found := ""
	for _, k := range *a.keys.Load() { // all of them, so that the time tells nothing
		if subtle.ConstantTimeCompare(k.digest[:], digest[:]) == 1 {
			found = k.name
		}
	}
	if found == "" {
		return nil, unauthenticated("unknown API key")
	}
	return &Identity{Method: "api_key", Name: found}, nil
}

// Challenge implements Method. There is no registered scheme for keys.
func (a *APIKeys) Challenge(bool) string { return "" }

// Strip implements Method.
func (a *APIKeys) Strip(r *http.Request, always bool) { a.Source.strip(r, always) }

// readLimited reads a regular file of at most some bytes.
func readLimited(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = errors.New("not a regular file")
	case info.Size() > most:
		err = fmt.Errorf("larger than %d MiB", most>>20)
	default:
		var data []byte
		if data, err = os.ReadFile(path); err == nil {
			return data, nil
		}
	}
	return nil, passwordsProblem(path, err)
}
