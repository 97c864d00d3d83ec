package proxy

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	proxyproto "github.com/pires/go-proxyproto"

	"wsproxy/lifecycle"
)

// introductionTimeout is how long a trusted hop may take to say whose connection it brings.
const introductionTimeout = 5 * time.Second

// maxIntroduction bounds what follows the fixed part of a PROXY header of version 2; the library takes no more.
const maxIntroduction = 4096

// introduce reads the PROXY header of a client just accepted and opens its record under the address that
// the header tells. Without one that can be believed the client is let go, and introduce says so.
func (l *listener) introduce(in *inbound, accepted time.Time) bool {
	stop := context.AfterFunc(l.ctx, func() { in.socket.Close() })
	in.SetReadDeadline(accepted.Add(introductionTimeout))
	h, heard, err := l.introduction(in)
	in.SetReadDeadline(time.Time{})
	stopped := !stop()
	if h != nil && h.Command.IsProxy() {
		if client, local, ok := h.TCPAddrs(); ok {
			in.client, in.local = client, local
		}
	}
	in.open(accepted)
	if err == nil && !stopped {
		return true
	}
	in.mu.Lock()
	evicted := in.evicted
	in.mu.Unlock()
	switch {
	case stopped:
		err = lifecycle.Fail(lifecycle.ReasonCanceled, errShutDown)
	case evicted:
		err = lifecycle.Failf(lifecycle.ReasonConnectionLimit, "its place was needed")
	}
	in.awaitRequest(accepted)
	in.unintroduced(err, heard)
	return false
}

// introduction reads below what counts the client's own bytes. heard says whether anything came.
func (l *listener) introduction(in *inbound) (h *proxyproto.Header, heard bool, err error) {
	if peer := in.socket.RemoteAddr().String(); !l.trusts(peer) {
		return nil, true, lifecycle.Failf(lifecycle.ReasonRequestInvalid, "%s is no trusted hop, of which a PROXY header would be believed", peer)
	}
	source := &noted{Reader: in.socket.Conn}
	h, n, err := readIntroduction(source)
	switch {
	case err == nil:
	case errors.Is(source.err, io.EOF) && !errors.Is(err, proxyproto.ErrNoProxyProtocol):
		err = lifecycle.Fail(lifecycle.ReasonClientGone, err)
	case source.err == nil || errors.Is(err, proxyproto.ErrNoProxyProtocol):
		err = lifecycle.Failf(lifecycle.ReasonRequestInvalid, "PROXY header: %w", err)
	}
	return h, n > 0, err
}

// unintroduced ends a connection that began without a PROXY header. Whoever is there is no HTTP client of
// ours, so it gets no answer.
func (in *inbound) unintroduced(err error, heard bool) {
	record, request := in.record, in.request
	in.record, in.request = nil, nil
	f := failure(request.End(in.ctx, err))
	if !heard && (f.Reason == lifecycle.ReasonClientGone || f.Reason == lifecycle.ReasonCanceled) {
		record.Unused()
	} else {
		record.Failed(f, 0)
	}
	in.socket.Close()
	in.seat.leave()
}

var (
	signatureV1 = []byte("PROXY ")
	signatureV2 = proxyproto.SIGV2
)

const (
	fixedV2     = 16  // bytes of a version 2 header before its addresses
	maxV1       = 107 // bytes of a version 1 header with its line end
	signatureAt = 12  // bytes after which the versions are told apart; no header is shorter
)

// readIntroduction reads a PROXY header of either version and no byte behind it: that belongs to whoever
// takes the descriptor. It also says how many bytes it read.
func readIntroduction(r io.Reader) (h *proxyproto.Header, read int, err error) {
	raw := make([]byte, signatureAt, maxV1)
	if read, err = io.ReadFull(r, raw); err != nil {
		if !couldBegin(raw[:read]) {
			err = proxyproto.ErrNoProxyProtocol
		}
		return nil, read, err
	}
	switch {
	case bytes.Equal(raw, signatureV2):
		raw, err = readV2(r, raw)
	case bytes.HasPrefix(raw, signatureV1):
		raw, err = readV1(r, raw)
	default:
		err = proxyproto.ErrNoProxyProtocol
	}
	if err != nil {
		return nil, len(raw), err
	}
	h, err = proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(raw), len(raw)))
	return h, len(raw), err
}

func couldBegin(raw []byte) bool {
	return bytes.HasPrefix(signatureV2, raw) || bytes.HasPrefix(raw, signatureV1) || bytes.HasPrefix(signatureV1, raw)
}

// readV1 reads on to the line end, two bytes at a time while both can belong to it.
func readV1(r io.Reader, raw []byte) ([]byte, error) {
	for !bytes.HasSuffix(raw, []byte("\r\n")) {
		n := len(raw)
		step := 2
		if raw[n-1] == '\r' || n+step > maxV1 {
			step = 1
		}
		if n+step > maxV1 || raw[n-1] == '\n' {
			return raw, proxyproto.ErrVersion1HeaderTooLong
		}
		raw = raw[:n+step]
		if _, err := io.ReadFull(r, raw[n:]); err != nil {
			return raw[:n], err
		}
	}
	return raw, nil
}

func readV2(r io.Reader, raw []byte) ([]byte, error) {
	raw = raw[:fixedV2]
	if _, err := io.ReadFull(r, raw[signatureAt:]); err != nil {
		return raw[:signatureAt], err
	}
	length := int(binary.BigEndian.Uint16(raw[fixedV2-2:]))
	if length > maxIntroduction {
		return raw, fmt.Errorf("%d bytes, want at most %d", length, maxIntroduction)
	}
	raw = append(raw, make([]byte, length)...)
	if _, err := io.ReadFull(r, raw[fixedV2:]); err != nil {
		return raw[:fixedV2], err
	}
	return raw, nil
}

// Ends are the addresses between which the client of ctx, that of a request, is connected, as a PROXY
// header would tell them. The client's is the one behind trusted hops; its port is 0 where only they
// know it. Zero addresses are unknown.
func Ends(ctx context.Context) (client, local netip.AddrPort) {
	in, ok := ctx.Value(inboundKey{}).(*inbound)
	if !ok {
		return client, local
	}
	name := in.RemoteAddr().String()
	if record := lifecycle.FromContext(ctx); record != nil {
		name = cmp.Or(record.Facts().Client, name)
	} else if v, ok := ctx.Value(visitKey{}).(*visit); ok {
		name = cmp.Or(v.origin.client, name)
	}
	return addrPort(name), addrPort(in.LocalAddr().String())
}

func addrPort(s string) netip.AddrPort {
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a
	}
	ip, _ := parseAddress(s)
	return netip.AddrPortFrom(ip, 0)
}

// RemoteAddr is the client's address, which a hop may have told.
func (in *inbound) RemoteAddr() net.Addr {
	if in.client != nil {
		return in.client
	}
	return in.Conn.RemoteAddr()
}

// LocalAddr is the address that the client connected to, which a hop may have told.
func (in *inbound) LocalAddr() net.Addr {
	if in.local != nil {
		return in.local
	}
	return in.Conn.LocalAddr()
}
