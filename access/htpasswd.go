package access

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

const (
	maxPasswords = 4 << 20 // bytes of the file
	maxUser      = 255     // bytes of a name, as SOCKS5 has room for (RFC 1929 §2)

	// maxCost is the slowest hash that is accepted, some 2 s; each further one doubles that.
	maxCost = 15

	// maxComplaints bounds how many lines an error is about.
	maxComplaints = 20
)

func readPasswords(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, passwordsProblem(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		return nil, passwordsProblem(path, err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxPasswords+1))
	if err == nil && len(data) > maxPasswords {
		err = fmt.Errorf("larger than %d MiB", maxPasswords>>20)
	}
	if err != nil {
		return nil, passwordsProblem(path, err)
	}
	return data, nil
}

func passwordsProblem(path string, err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return fmt.Errorf("%s: %w", path, err)
}

// parsePasswords reads the lines of an htpasswd file: user:hash, empty ones and #comments.
func parsePasswords(path string, data []byte) (map[string][]byte, error) {
	hashes := make(map[string][]byte)
	var problems []error
	number := 0
	for line := range bytes.Lines(data) {
		number++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		user, hash, ok := strings.Cut(string(line), ":")
		err := checkHash(hash)
		switch _, twice := hashes[user]; {
		case !ok || user == "" || len(user) > maxUser:
			err = fmt.Errorf("want user:hash, with a user of 1 to %d bytes", maxUser)
		case twice:
			err = fmt.Errorf("user %q stands twice", user)
		case err == nil:
			hashes[user] = []byte(hash)
			continue
		}
		problems = append(problems, fmt.Errorf("%s:%d: %w", path, number, err))
		if len(problems) == maxComplaints {
			break
		}
	}
	return hashes, errors.Join(problems...)
}

// hashLength is that of every bcrypt hash: $2y$, the cost, $, and salt and digest in base64.
const hashLength = 60

// checkHash puts no part of the hash into the error.
func checkHash(hash string) error {
	version := ""
	if len(hash) > 4 {
		version = hash[:4]
	}
	switch version {
	case "$2a$", "$2b$", "$2y$":
	default:
		return errors.New("not a bcrypt hash; make one with htpasswd -B")
	}
	cost, err := bcrypt.Cost([]byte(hash))
	switch {
	case err != nil || len(hash) != hashLength || strings.ContainsFunc(hash[7:], notInHash):
		return errors.New("a damaged bcrypt hash; make it anew with htpasswd -B")
	case cost > maxCost:
		return fmt.Errorf("a bcrypt hash of cost %d, which takes too long; want at most %d", cost, maxCost)
	}
	return nil
}

func notInHash(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '/')
}

// nobodyAmong is a hash, of no password that anyone knows, with the highest cost of them all: a user that
// does not exist must take as long to refuse as one that does.
func nobodyAmong(hashes map[string][]byte) []byte {
	cost := bcrypt.MinCost
	if len(hashes) == 0 {
		cost = bcrypt.DefaultCost
	}
	for _, hash := range hashes {
		if c, err := bcrypt.Cost(hash); err == nil {
			cost = max(cost, c)
		}
	}
	return fmt.Appendf(nil, "$2a$%02d$%s", cost, strings.Repeat(".", 53))
}
