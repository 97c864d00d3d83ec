package tlsconf

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxFile bounds a file that is read; a system's whole bundle of CAs has a quarter of a megabyte.
const maxFile = 4 << 20

// readFile reads a regular file: a named pipe would block, and give nothing the second time.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, readProblem(path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, readProblem(path, err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, readProblem(path, err)
	}
	if len(content) > maxFile {
		return nil, fmt.Errorf("%s: larger than %d MiB", path, maxFile>>20)
	}
	return content, nil
}

func readProblem(path string, err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: %w (let the user that runs wsproxy read it and enter its folder)", path, err)
	case errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(path):
		if folder, e := os.Getwd(); e == nil {
			return fmt.Errorf("%s: %w (looked in %s)", path, err, folder)
		}
	}
	return fmt.Errorf("%s: %w", path, err)
}

// parsePair never puts key material into an error: what crypto/tls says of a key that it can't
// parse names types and positions, not content.
func parsePair(p Pair, certPEM, keyPEM []byte) (*tls.Certificate, error) {
	_, err := parseCertificates(p.Cert, certPEM)
	if err = joinDistinct([]error{err, checkKey(p.keyFile(), keyPEM)}); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s: not the key of the first certificate in %s: %w", p.keyFile(), p.Cert, err)
	}
	if p.signs && !maySign(pair.Leaf) {
		return nil, fmt.Errorf("%s: not the certificate of a CA (wsproxy ca makes one)", p.Cert)
	}
	return &pair, nil
}

func maySign(c *x509.Certificate) bool {
	return c.BasicConstraintsValid && c.IsCA && (c.KeyUsage == 0 || c.KeyUsage&x509.KeyUsageCertSign != 0)
}

func parsePool(file string, content []byte) (*x509.CertPool, error) {
	certs, err := parseCertificates(file, content)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c)
	}
	return pool, nil
}

// parseCertificates reads every certificate of a file. Unlike the standard library it skips none
// that is damaged: half a file would pass for a shorter chain or a smaller set of CAs.
func parseCertificates(file string, content []byte) ([]*x509.Certificate, error) {
	blocks, err := decode(file, content)
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for _, b := range blocks {
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: certificate %d: %w", file, len(certs)+1, err)
		}
		certs = append(certs, c)
	}
	switch {
	case len(certs) > 0:
		return certs, nil
	case len(blocks) > 0:
		return nil, fmt.Errorf("%s: no certificate in it but a %s (are the files switched?)", file, blocks[0].Type)
	}
	return nil, fmt.Errorf("%s: no PEM block in it (a certificate begins with -----BEGIN CERTIFICATE-----)", file)
}

func checkKey(file string, content []byte) error {
	blocks, err := decode(file, content)
	if err != nil {
		return err
	}
	for _, b := range blocks {
		if !strings.HasSuffix(b.Type, "PRIVATE KEY") {
			continue
		}
		if b.Type == "ENCRYPTED PRIVATE KEY" || b.Headers["DEK-Info"] != "" {
			return fmt.Errorf("%s: the private key is encrypted (decrypt it with: openssl pkey -in %[1]s)", file)
		}
		return nil
	}
	if len(blocks) > 0 {
		return fmt.Errorf("%s: no private key in it but a %s (is it the key's file?)", file, blocks[0].Type)
	}
	return fmt.Errorf("%s: no PEM block in it (a private key begins with -----BEGIN PRIVATE KEY-----)", file)
}

// decode gives all PEM blocks of a file, or an error if one of them is damaged, as it is in a file
// that is being written; encoding/pem would pass over it.
func decode(file string, content []byte) ([]*pem.Block, error) {
	var blocks []*pem.Block
	for rest := content; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		blocks = append(blocks, b)
	}
	if begun := bytes.Count(content, []byte("-----BEGIN ")); begun != len(blocks) {
		return nil, fmt.Errorf("%s: %d of its %d PEM blocks are damaged or half-written", file, begun-len(blocks), begun)
	}
	return blocks, nil
}
