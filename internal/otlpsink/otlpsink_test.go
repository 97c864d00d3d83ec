package otlpsink

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestKeepsWhatIsSent(t *testing.T) {
	s := Start()
	defer s.Close()
	defer http.DefaultClient.CloseIdleConnections()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write([]byte("two"))
	z.Close()
	for _, b := range []struct {
		body     []byte
		encoding string
		want     int
	}{{[]byte("one"), "", http.StatusOK}, {packed.Bytes(), "gzip", http.StatusOK}, {[]byte("not packed"), "gzip", http.StatusBadRequest}} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+Traces, bytes.NewReader(b.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Encoding", b.encoding)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != b.want {
			t.Errorf("%q: got %d, want %d", b.body, resp.StatusCode, b.want)
		}
	}
	if got, all, none := string(s.Got(Traces)), string(s.Got("")), s.Got(Logs); got != "onetwo" || all != got || len(none) > 0 {
		t.Errorf("got %q, %q of all and %q of logs, want onetwo, the same and nothing", got, all, none)
	}
	if got := s.Header().Get("Content-Encoding"); got != "gzip" {
		t.Errorf("got %q, want the last request's header", got)
	}
}
