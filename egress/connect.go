package egress

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/proxy"

	"wsproxy/lifecycle"
)

// connectDialer opens tunnels with the CONNECT method (RFC 9110 section 9.3.6). It has the shape of
// golang.org/x/net/proxy's diallers.
type connectDialer struct {
	address            string // of the proxy
	username, password string
	header             http.Header
	forward            proxy.ContextDialer // opens the connection to the proxy
	answered           func(status int)    // told of the status before it is judged
}

// DialContext returns the connection to the proxy itself, of which nothing behind the answer was read.
// An answer that is no tunnel is a *lifecycle.Failure.
func (d *connectDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.forward.DialContext(ctx, network, d.address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	err = d.open(conn, address)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func (d *connectDialer) open(conn net.Conn, address string) error {
	if err := d.request(conn, address); err != nil {
		return fmt.Errorf("write CONNECT: %w", err)
	}
	status, err := readResponse(conn)
	if err != nil {
		return fmt.Errorf("read answer to CONNECT: %w", err)
	}
	d.answered(status)
	if status/100 == 2 {
		return nil
	}
	f := lifecycle.Failf(refusal(status), "proxy %s answered CONNECT with %d %s", d.address, status, http.StatusText(status))
	f.Status = status
	return f
}

// refusal is the reason of a final status that is no success. 401 is an origin's to give, but nobody
// other than the proxy answers a CONNECT, and what helps is the same as after 407.
func refusal(status int) lifecycle.Reason {
	if status == http.StatusProxyAuthRequired || status == http.StatusUnauthorized {
		return lifecycle.ReasonProxyAuthRequired
	}
	return lifecycle.ReasonProxyRefused
}

func (d *connectDialer) request(conn net.Conn, address string) error {
	var head bytes.Buffer
	fmt.Fprintf(&head, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", address, address)
	if d.username != "" {
		secret := base64.StdEncoding.EncodeToString([]byte(d.username + ":" + d.password))
		fmt.Fprintf(&head, "Proxy-Authorization: Basic %s\r\n", secret)
	}
	if err := d.header.Write(&head); err != nil {
		return err
	}
	head.WriteString("\r\n")
	_, err := conn.Write(head.Bytes())
	return err
}
