package telemetry

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/trace"
)

// shared is a writer that several may use: slog's handlers each have a lock of their own.
type shared struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *shared) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}

// accessLines writes the lines of connections in JSON as slog.JSONHandler would, but without a record
// and its caller for each, and those of connections that ended together in one write.
type accessLines struct {
	to *shared

	mu  sync.Mutex
	buf []byte // lines not written yet
}

// accessBuffer is how many bytes of lines wait at most to be written with those behind them.
const accessBuffer = 32 << 10

func (a *accessLines) add(at time.Time, level slog.Level, message string, attrs []slog.Attr, sc trace.SpanContext) {
	a.mu.Lock()
	defer a.mu.Unlock()
	b := append(a.buf, `{"time":"`...)
	b = at.AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","level":"`...)
	b = append(b, severityText(level)...)
	b = append(b, `","msg":`...)
	b = appendQuoted(b, message)
	b = append(b, `,"component":"`+accessComponent+`"`...)
	for _, attr := range attrs {
		b = append(b, ',')
		b = appendAttr(b, attr)
	}
	if sc.IsValid() {
		b = append(b, `,"trace_id":"`...)
		b = append(b, sc.TraceID().String()...)
		b = append(b, `","span_id":"`...)
		b = append(b, sc.SpanID().String()...)
		b = append(b, '"')
	}
	a.buf = append(b, "}\n"...)
	if len(a.buf) >= accessBuffer {
		a.write()
	}
}

// flush writes what waits. A console that takes nothing is nobody's failure, as with slog.
func (a *accessLines) flush() {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.buf) > 0 {
		a.write()
	}
}

// write is called with mu.
func (a *accessLines) write() {
	a.to.Write(a.buf)
	a.buf = a.buf[:0]
	if cap(a.buf) > 2*accessBuffer {
		a.buf = nil
	}
}

func appendAttr(b []byte, a slog.Attr) []byte {
	b = appendQuoted(b, a.Key)
	b = append(b, ':')
	switch v := a.Value; v.Kind() {
	case slog.KindString:
		return appendQuoted(b, redactText(v.String()))
	case slog.KindInt64:
		return strconv.AppendInt(b, v.Int64(), 10)
	case slog.KindUint64:
		return strconv.AppendUint(b, v.Uint64(), 10)
	case slog.KindBool:
		return strconv.AppendBool(b, v.Bool())
	case slog.KindFloat64: // milliseconds, with three digits behind the point
		return strconv.AppendFloat(b, v.Float64(), 'f', -1, 64)
	case slog.KindGroup:
		b = append(b, '{')
		for i, member := range v.Group() {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendAttr(b, member)
		}
		return append(b, '}')
	default:
		return appendQuoted(b, redactText(v.String()))
	}
}

// appendQuoted appends a JSON string.
func appendQuoted(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return appendEscaped(b, s)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func appendEscaped(b []byte, s string) []byte {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.Encode(s) // a string can't fail
	return append(b, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
}
