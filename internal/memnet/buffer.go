package memnet

// buffer is a bounded queue of bytes.
type buffer struct {
	data []byte // from off on
	off  int
	size int
}

func (b *buffer) unread() int { return len(b.data) - b.off }

// write takes what fits of p.
func (b *buffer) write(p []byte) int {
	n := min(len(p), b.size-b.unread())
	if b.off > 0 && len(b.data)+n > b.size {
		b.data = b.data[:copy(b.data, b.data[b.off:])]
		b.off = 0
	}
	b.data = append(b.data, p[:n]...)
	return n
}

func (b *buffer) read(p []byte) int {
	n := copy(p, b.data[b.off:])
	b.off += n
	if b.unread() == 0 {
		b.data, b.off = b.data[:0], 0
	}
	return n
}
