package relay

import "net"

// Rewound is a connection of which something was read that is to be read again, by TLS which is to be above
// it and takes all of that before a relay has the connection.
type Rewound struct {
	net.Conn
	again []byte
}

// Rewind has read be read again from c, which is a Conn or TLS above one.
func Rewind(c net.Conn, read []byte) *Rewound { return &Rewound{Conn: c, again: read} }

// Read reads what was read before, and then on.
func (r *Rewound) Read(b []byte) (int, error) {
	if len(r.again) == 0 {
		return r.Conn.Read(b)
	}
	n := copy(b, r.again)
	if r.again = r.again[n:]; len(r.again) == 0 {
		r.again = nil // or its array would live as long as the connection
	}
	return n, nil
}

// beneath is what c stands in front of: the connection that was rewound, or c itself.
func beneath(c net.Conn) net.Conn {
	if r, ok := c.(*Rewound); ok {
		return r.Conn
	}
	return c
}
