package tlsconf

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"hash"
)

// material is what one or two files hold, parsed. When they turn bad, value stays and err says why.
type material[T any] struct {
	files []string
	parse func(contents [][]byte) (T, error)

	value T
	err   error             // what is wrong with the files as last read
	tried [sha256.Size]byte // of the files as last read
}

func newPair(p Pair) *material[*tls.Certificate] {
	return &material[*tls.Certificate]{
		files: []string{p.Cert, p.keyFile()},
		parse: func(contents [][]byte) (*tls.Certificate, error) {
			return parsePair(p, contents[0], contents[1])
		},
	}
}

func newPool(file string) *material[*x509.CertPool] {
	return &material[*x509.CertPool]{
		files: []string{file},
		parse: func(contents [][]byte) (*x509.CertPool, error) { return parsePool(file, contents[0]) },
	}
}

// refresh reads the files again. news means that they are not as they were, replaced that they are
// good and value is new.
func (m *material[T]) refresh() (news, replaced bool) {
	contents, digest, err := m.read()
	if digest == m.tried {
		return false, false
	}
	m.tried, m.err = digest, err
	if err != nil {
		return true, false
	}
	value, err := m.parse(contents)
	if m.err = err; err != nil {
		return true, false
	}
	m.value = value
	return true, true
}

func (m *material[T]) read() (contents [][]byte, digest [sha256.Size]byte, err error) {
	sum := sha256.New()
	var problems []error
	for _, file := range m.files {
		content, err := readFile(file)
		if err != nil {
			problems = append(problems, err)
			content = []byte(err.Error())
		}
		add(sum, content)
		contents = append(contents, content)
	}
	return contents, [sha256.Size]byte(sum.Sum(nil)), joinDistinct(problems)
}

// add puts the length first, so that what moves from one file's end to the next's beginning counts.
func add(sum hash.Hash, content []byte) {
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(content)))
	sum.Write(length[:])
	sum.Write(content)
}
