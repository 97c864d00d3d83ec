package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// wanted is why a text is not a value of its type: it completes "got …, want". It never holds the text itself, which
// may be a secret.
type wanted struct {
	what       string
	suggestion string
}

func (w *wanted) Error() string { return "want " + w.what }

// isScalar reports whether a value is written as one text, whatever its Go type.
func isScalar(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map, reflect.Pointer:
		return false
	case reflect.Struct:
		switch v.Addr().Interface().(type) {
		case *Secret, encoding.TextUnmarshaler:
			return true
		}
		return false
	}
	return true
}

// set gives v the value that text stands for. The error is a *wanted.
func (f field) set(v reflect.Value, text string) error {
	switch to := v.Addr().Interface().(type) {
	case *Duration:
		return f.setDuration(to, text)
	case *Size:
		return f.setSize(to, text)
	case choice:
		return setChoice(v, to, text)
	case encoding.TextUnmarshaler:
		return to.UnmarshalText([]byte(text))
	case *string:
		*to = text
	case *bool:
		return setBool(to, text)
	case *int:
		return setNumber(f, to, text, strconv.Atoi, "a whole number")
	case *float64:
		return setNumber(f, to, text, parseFloat, "a number")
	default:
		panic("no way to set a " + v.Type().String())
	}
	return nil
}

func setBool(to *bool, text string) error {
	switch text {
	case "true", "false":
		*to = text == "true"
		return nil
	}
	w := &wanted{what: "true or false"}
	switch strings.ToLower(text) {
	case "true", "yes", "on":
		w.suggestion = "true"
	case "false", "no", "off":
		w.suggestion = "false"
	}
	return w
}

func parseFloat(text string) (float64, error) { return strconv.ParseFloat(text, 64) }

func setNumber[T int | float64](f field, to *T, text string, parse func(string) (T, error), what string) error {
	orWord := ""
	if word := f.word(); word != "" {
		if text == word {
			*to = 0
			return nil
		}
		orWord = ", or " + word
	}
	n, err := parse(text)
	least, most := limits(f, parse)
	if err != nil || !(least <= n && n <= most) { // NaN is in no range
		return &wanted{what: fmt.Sprintf("%s from %s to %s%s", what, f.least, f.most, orWord)}
	}
	*to = n
	return nil
}

func (f field) setDuration(to *Duration, text string) error {
	orOff := ""
	if f.off {
		orOff = ", or off"
	}
	if f.off && text == "off" {
		*to = 0
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return &wanted{what: "a duration such as 500ms, 10s or 1h30m" + orOff, suggestion: withUnit(text)}
	}
	if least, most := limits(f, time.ParseDuration); d < least || d > most {
		return &wanted{what: fmt.Sprintf("a duration from %s to %s%s", f.least, f.most, orOff)}
	}
	*to = Duration(d)
	return nil
}

// withUnit is the likely meaning of a duration without a unit.
func withUnit(text string) string {
	if _, err := strconv.Atoi(text); err != nil {
		return ""
	}
	return text + "s"
}

// limits reads the range of a field's tag; one that can't be read is a fault of ours.
func limits[T any](f field, parse func(string) (T, error)) (least, most T) {
	least, err1 := parse(f.least)
	most, err2 := parse(f.most)
	if err1 != nil || err2 != nil {
		panic(fmt.Sprintf("range of %s: %q to %q", f.name, f.least, f.most))
	}
	return least, most
}

// Duration is a time span; 0 stands for off where a key allows that.
type Duration time.Duration

// String writes it as a file would have it: 1h, not 1h0m0s.
func (d Duration) String() string {
	if d == 0 {
		return "off"
	}
	text := time.Duration(d).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
