package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"strings"
	"testing"

	"wsproxy/internal/selfca"
)

// adminFiles are an authority's, a server's and an operator's in a folder.
type adminFiles struct {
	folder            string
	ca                *selfca.CA
	caFile, cert, key string
	operator          tls.Certificate
}

func newAdminFiles(t *testing.T) *adminFiles {
	t.Helper()
	f := &adminFiles{folder: t.TempDir()}
	var err error
	if f.ca, err = selfca.New("admin"); err != nil {
		t.Fatal(err)
	}
	if f.caFile, err = f.ca.Write(f.folder, "ca"); err != nil {
		t.Fatal(err)
	}
	f.renew(t)
	operator, err := f.ca.Issue(selfca.Leaf{CommonName: "operator"})
	if err != nil {
		t.Fatal(err)
	}
	f.operator = operator.TLS()
	return f
}

// renew writes a new certificate for the server.
func (f *adminFiles) renew(t *testing.T) *x509.Certificate {
	t.Helper()
	c, err := f.ca.Issue(selfca.Leaf{Names: []string{"127.0.0.1"}})
	if err == nil {
		f.cert, f.key, err = c.Write(f.folder, "server")
	}
	if err != nil {
		t.Fatal(err)
	}
	return c.Leaf
}

// block is the configuration's.
func (f *adminFiles) block(with ...string) object {
	b := object{"certificates": []object{{"cert": f.cert, "key": f.key}}}
	for i := 0; i+1 < len(with); i += 2 {
		b[with[i]] = with[i+1]
	}
	return b
}

// serial is of the certificate that the admin port shows.
func (f *adminFiles) serial(t *testing.T, at string) string {
	t.Helper()
	d := tls.Dialer{Config: &tls.Config{RootCAs: f.ca.Pool()}}
	c, err := d.DialContext(t.Context(), "tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
}

func TestReadyOverTLS(t *testing.T) {
	f := newAdminFiles(t)
	r := newRig(t, func(cfg object) { cfg["admin"] = object{"address": "127.0.0.1:0", "tls": f.block()} })
	at := r.adminAddr.Addr().String()
	for _, tc := range []struct {
		name string
		args []string
		code int
		err  string
	}{
		{"trusted", []string{"--admin", "https://" + at, "--ca", f.caFile}, 0, ""},
		{"not trusted", []string{"--admin", "https://" + at}, exitFailed, "certificate"},
		{"another name", []string{"--admin", "https://" + at, "--ca", f.caFile, "--server-name", "elsewhere.test"}, exitFailed, "elsewhere.test"},
		{"whatever certificate", []string{"--admin", "https://" + at, "--insecure"}, 0, ""},
		{"plain HTTP", []string{"--admin", at}, exitFailed, "HTTPS"},
		{"no such file", []string{"--admin", "https://" + at, "--ca", f.folder + "/none"}, exitUsage, "none"},
		{"no address", []string{"--admin", "ftp://" + at}, exitUsage, "want host:port"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, _, errs := command(t.Context(), append([]string{"ready", "--timeout", patience.String()}, tc.args...)...)
			if code != tc.code || !strings.Contains(errs, tc.err) {
				t.Errorf("got exit code %d and %q, want %d and %q", code, errs, tc.code, tc.err)
			}
		})
	}
}

func TestAdminCertificateIsRenewed(t *testing.T) {
	f := newAdminFiles(t)
	r := newRig(t, func(cfg object) { cfg["admin"] = object{"address": "127.0.0.1:0", "tls": f.block()} })
	at := r.adminAddr.Addr().String()
	renewed := f.renew(t).SerialNumber.String()
	eventually(t, "the new certificate is shown", func() bool { return f.serial(t, at) == renewed })
}

// TestAdminAccessIsReloaded changes what the port asks for while it is open.
func TestAdminAccessIsReloaded(t *testing.T) {
	f := newAdminFiles(t)
	r := newRig(t, nil)
	at := r.adminAddr.Addr().String()
	status := func(scheme, path string, certificates ...tls.Certificate) int {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		status, _, err := get(ctx, scheme+"://"+at+path, &tls.Config{RootCAs: f.ca.Pool(), Certificates: certificates})
		if errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		return status // 0 without an answer
	}
	want := func(when string, want, got int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got %d, want %d", when, got, want)
		}
	}
	set := func(block object) {
		t.Helper()
		admin := object{"address": "127.0.0.1:0"}
		if block != nil {
			admin["tls"] = block
		}
		r.cfg["admin"] = admin
		r.mustReload()
	}

	want("plain", http.StatusOK, status("http", "/api/state"))
	set(f.block())
	want("TLS", http.StatusOK, status("https", "/api/state"))
	want("plain, where there is TLS", http.StatusBadRequest, status("http", "/api/state"))
	set(f.block("client_ca", f.caFile))
	want("no certificate", http.StatusForbidden, status("https", "/api/state"))
	want("no certificate, for readiness", http.StatusOK, status("https", "/readyz"))
	want("a certificate", http.StatusOK, status("https", "/api/state", f.operator))
	r.cfg["admin"] = object{"address": "127.0.0.1:0", "tls": f.block("client_ca", f.folder+"/none")}
	if got := r.reloaded(); got.Err == nil || !strings.Contains(got.Err.Error(), "admin.tls.client_ca") {
		t.Errorf("a file that is not there: got %v", got.Err)
	}
	want("as it was", http.StatusForbidden, status("https", "/api/state"))
	set(nil)
	want("plain again", http.StatusOK, status("http", "/api/state"))
}
