//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// capture is what goes over a device, as dumpcap writes it down and tshark reads it.
type capture struct {
	*process
	tshark string
	file   string
	keys   string // file with the secrets of the TLS sessions in it (SSLKEYLOGFILE)
}

// packet is what is looked at of one.
type packet struct {
	at                       time.Time
	from                     string
	query, answer            bool // of DNS
	syn, ack                 bool
	method, status           string   // of HTTP
	socksVersion, socksReply bool     // of SOCKS5: there is one
	handshake                []string // types of TLS handshake messages
}

// startCapture begins to capture on a device in a namespace.
func (h *house) startCapture(t *testing.T, n *namespace, device string) *capture {
	t.Helper()
	folder := t.TempDir()
	c := &capture{tshark: h.programs["tshark"], file: filepath.Join(folder, "packets.pcapng"), keys: filepath.Join(folder, "keys")}
	err := n.do(func() error {
		c.process = start(t, "dumpcap", nil, h.programs["dumpcap"], "-i", device, "-w", c.file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the capture has begun", func(context.Context) error {
		if !bytes.Contains(c.log(t), []byte("File: ")) {
			return errNotYet
		}
		return nil
	})
	return c
}

// fields are asked of tshark, in the order in which parsePacket reads them.
var fields = []string{
	"frame.time_epoch", "ip.src", "dns.flags.response", "tcp.flags.syn", "tcp.flags.ack", "http.request.method", "http.response.code",
	"socks.version", "socks.results", "tls.handshake.type",
}

// packets are those that were captured so far.
func (c *capture) packets(ctx context.Context) ([]packet, error) {
	args := []string{"-r", c.file, "-n", "-o", "tls.keylog_file:" + c.keys, "-T", "fields", "-E", "separator=;"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	var complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, c.tshark, args...)
	cmd.Stderr = &complaints
	out, err := cmd.Output() // the last packet may be half written: what was read counts
	rows := csv.NewReader(bytes.NewReader(out))
	rows.Comma, rows.FieldsPerRecord = ';', len(fields)
	all, bad := rows.ReadAll()
	if bad != nil {
		return nil, fmt.Errorf("tshark: %w, %w: %s", bad, err, complaints.Bytes())
	}
	packets := make([]packet, len(all))
	for i, row := range all {
		if packets[i], err = parsePacket(row); err != nil {
			return nil, err
		}
	}
	return packets, nil
}

func parsePacket(f []string) (packet, error) {
	whole, fraction, _ := strings.Cut(f[0], ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return packet{}, err
	}
	nanos, err := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	if err != nil {
		return packet{}, err
	}
	return packet{
		at: time.Unix(seconds, nanos), from: f[1], query: isFalse(f[2]), answer: isTrue(f[2]), syn: isTrue(f[3]), ack: isTrue(f[4]),
		method: f[5], status: f[6], socksVersion: f[7] != "", socksReply: f[8] != "", handshake: strings.Split(f[9], ","),
	}, nil
}

// tshark's booleans are 1 and 0, in later versions True and False.
func isTrue(text string) bool  { return text == "1" || text == "True" }
func isFalse(text string) bool { return text == "0" || text == "False" }
