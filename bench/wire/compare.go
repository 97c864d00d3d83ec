package wire

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
)

// Compare reads from r as much as want holds, and tells where they first differ.
func Compare(r io.Reader, want io.Reader) error {
	var got, expected [32 << 10]byte
	offset := int64(0)
	for {
		n, err := io.ReadFull(want, expected[:])
		if n > 0 {
			k, err := io.ReadFull(r, got[:n])
			if at := mismatch(got[:k], expected[:k]); at >= 0 {
				return fmt.Errorf("byte %d is %#02x, want %#02x", offset+int64(at), got[at], expected[at])
			}
			if err != nil {
				return fmt.Errorf("after %d bytes: %w", offset+int64(k), err)
			}
			offset += int64(n)
		}
		if err != nil {
			return nil // want's end
		}
	}
}

func mismatch(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

// CopyInChunks writes all of r in pieces of random sizes, from a byte to 64 KiB.
func CopyInChunks(w io.Writer, r io.Reader, seed uint64) (int64, error) {
	choice := rand.New(rand.NewPCG(seed, 2))
	var b [64 << 10]byte
	total := int64(0)
	for {
		size := len(b)
		if choice.IntN(4) == 0 {
			size = 1 + choice.IntN([...]int{4, 200, 5000}[choice.IntN(3)])
		}
		n, err := io.ReadFull(r, b[:size])
		if n > 0 {
			if _, err := w.Write(b[:n]); err != nil {
				return total, err
			}
			total += int64(n)
		}
		if err != nil {
			return total, nil // r's end: it has no other errors
		}
	}
}
