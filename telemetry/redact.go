package telemetry

import (
	"context"
	"log/slog"
	"regexp"
	"slices"
	"strings"
)

const redacted = "[redacted]"

// redacting is the net below everyone's care not to log secrets: attributes that are named like one, and
// what URLs in a text carry besides host and path, are not written.
type redacting struct{ slog.Handler }

func (h redacting) Handle(ctx context.Context, r slog.Record) error {
	suspect := suspectText(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		suspect = suspect || suspectAttr(a)
		return !suspect
	})
	if !suspect { // nearly every line
		return h.Handler.Handle(ctx, r)
	}
	clean := slog.NewRecord(r.Time, r.Level, redactText(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(redact(a))
		return true
	})
	return h.Handler.Handle(ctx, clean)
}

func (h redacting) WithAttrs(attrs []slog.Attr) slog.Handler {
	return redacting{h.Handler.WithAttrs(redactAll(attrs))}
}

func (h redacting) WithGroup(name string) slog.Handler { return redacting{h.Handler.WithGroup(name)} }

// suspectAttr says whether redact may change a.
func suspectAttr(a slog.Attr) bool {
	switch a.Value.Kind() {
	case slog.KindString:
		return suspectText(a.Value.String()) || isSecret(a.Key)
	case slog.KindGroup:
		return slices.ContainsFunc(a.Value.Group(), suspectAttr) || isSecret(a.Key)
	case slog.KindAny, slog.KindLogValuer:
		return true
	}
	return isSecret(a.Key)
}

func suspectText(text string) bool {
	return strings.ContainsAny(text, "?@") || strings.Contains(text, "malformed")
}

func isSecret(key string) bool {
	switch strings.ToLower(key) {
	case "authorization", "proxy-authorization", "cookie", "set-cookie", "token", "password", "secret", "credentials":
		return true
	}
	return false
}

func redactAll(attrs []slog.Attr) []slog.Attr {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = redact(a)
	}
	return clean
}

func redact(a slog.Attr) slog.Attr {
	a.Value = a.Value.Resolve()
	if isSecret(a.Key) {
		return slog.String(a.Key, redacted)
	}
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(redactText(a.Value.String()))
	case slog.KindGroup:
		a.Value = slog.GroupValue(redactAll(a.Value.Group())...)
	case slog.KindAny:
		if err, ok := a.Value.Any().(error); ok {
			a.Value = slog.StringValue(redactText(err.Error()))
		}
	}
	return a
}

// quoted is what Go's readers of HTTP say of a head that is none, and the part of it that they quote. Whoever sent it may
// have meant to send something else.
var quoted = regexp.MustCompile(`(malformed [A-Za-z :-]+?):? "(?:[^"\\]|\\.)*"?`)

// redactText takes user, password and query out of every URL in a text, and what was to be a head of HTTP.
func redactText(text string) string {
	if !suspectText(text) {
		return text
	}
	text = quoted.ReplaceAllString(text, "$1 "+redacted)
	var b strings.Builder
	for text != "" {
		end := strings.IndexAny(text, " \t\r\n\"'`<>")
		if end < 0 {
			end = len(text)
		}
		b.WriteString(redactURL(text[:end]))
		text = text[end:]
		if text != "" {
			b.WriteByte(text[0])
			text = text[1:]
		}
	}
	return b.String()
}

func redactURL(word string) string {
	if before, after, ok := strings.Cut(word, "://"); ok {
		authority, _, _ := strings.Cut(after, "/")
		if i := strings.LastIndexByte(authority, '@'); i >= 0 {
			word = before + "://" + redacted + after[i:]
		}
	}
	if before, query, ok := strings.Cut(word, "?"); ok && query != "" && strings.Contains(before, "/") {
		return before + "?" + redacted
	}
	return word
}
