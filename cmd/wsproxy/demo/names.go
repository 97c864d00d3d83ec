package demo

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	echoName    = "echo.demo"
	slowName    = "slow.demo"
	proxyName   = "proxy.demo"
	unknownName = "missing.demo"

	questionLimit = 1232 // bytes of a question over UDP, as EDNS advises
	answerTTL     = 5    // seconds
	askers        = 64   // questions being answered at a time; more get no answer
)

// startNames starts the name server, on UDP and TCP, and returns its address. Three names are all it
// knows, and all of them are loopback.
func (c *Cast) startNames() (string, error) {
	d, udp, err := c.openNames()
	if err != nil {
		return "", err
	}
	c.atEnd(udp.Close)
	c.serve(d, c.answerStream)
	c.inside.Go(func() { c.answerPackets(udp) })
	return d.Addr().String(), nil
}

// openNames takes the same port for both; one that is free on TCP may not be on UDP.
func (c *Cast) openNames() (*door, *net.UDPConn, error) {
	for tries := 10; ; tries-- {
		d, err := c.open()
		if err != nil {
			return nil, nil, err
		}
		at := d.Addr().(*net.TCPAddr)
		udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: at.IP, Port: at.Port})
		if err == nil {
			return d, udp, nil
		}
		d.Close()
		if tries == 0 {
			return nil, nil, err
		}
	}
}

func (c *Cast) answerPackets(udp *net.UDPConn) {
	slots := make(chan struct{}, askers)
	buf := make([]byte, questionLimit)
	for c.ctx.Err() == nil {
		n, from, err := udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			continue // of an earlier answer that reached nobody, or the end
		}
		question := append([]byte(nil), buf[:n]...)
		select {
		case slots <- struct{}{}:
			c.inside.Go(func() {
				defer func() { <-slots }()
				if a := c.answer(question); a != nil {
					udp.WriteToUDPAddrPort(a, from)
				}
			})
		default:
		}
	}
}

// answerStream answers the questions of one TCP connection, each behind its length (RFC 1035 §4.2.2).
func (c *Cast) answerStream(g *guest) {
	for {
		g.SetDeadline(time.Now().Add(patience))
		var length [2]byte
		if _, err := io.ReadFull(g, length[:]); err != nil {
			return
		}
		question := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(g, question); err != nil {
			return
		}
		a := c.answer(question)
		if a == nil {
			return
		}
		if _, err := g.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...)); err != nil {
			return
		}
	}
}

// answer answers a question after the wait that its name has, nil where none is due.
func (c *Cast) answer(question []byte) []byte {
	var p dnsmessage.Parser
	head, err := p.Start(question)
	if err != nil || head.Response {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	if name == slowName && !wait(c.ctx, c.waits.lookup) {
		return nil
	}
	reply := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: head.ID, Response: true, Authoritative: true, RecursionDesired: head.RecursionDesired, RecursionAvailable: true,
		},
		Questions: []dnsmessage.Question{q},
	}
	switch {
	case name != echoName && name != slowName && name != proxyName:
		reply.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA && q.Class == dnsmessage.ClassINET:
		reply.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: answerTTL},
			Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
		}}
	}
	packed, err := reply.Pack()
	if err != nil {
		return nil
	}
	return packed
}

// question is a resolver's socket. A lookup that was given up waits on for its answer, seconds long;
// the end of the cast ends that.
type question struct {
	*net.UDPConn
	forget func() bool
}

func newQuestion(ctx context.Context, udp *net.UDPConn) *question {
	return &question{UDPConn: udp, forget: context.AfterFunc(ctx, func() { udp.Close() })}
}

// Close implements net.Conn.
func (q *question) Close() error {
	q.forget()
	return q.UDPConn.Close()
}
