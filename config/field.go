package config

import (
	"reflect"
	"strings"
)

// field is what the decoder, the reference and the schema know of a key, from the tags of its struct field:
//
//	yaml      the key
//	default   its value when the file has none, as it would be written there
//	required  the key must be there and not empty
//	range     "least..most" of a number or a duration
//	reload    "restart": neither the key nor what is below it can be changed while wsproxy runs
//	off       a duration or number that may be off, which is 0
//	auto      a number that may be auto, which is 0
type field struct {
	name      string
	index     int
	preset    string
	hasPreset bool
	required  bool
	least     string
	most      string
	off       bool
	restart   bool
	auto      bool
}

// fieldsOf lists the keys of a struct type in their order.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		name := tag.Get("yaml")
		if name == "" {
			continue
		}
		f := field{
			name: name, index: i, required: tag.Get("required") == "true",
			off: tag.Get("off") == "true", auto: tag.Get("auto") == "true", restart: tag.Get("reload") == "restart",
		}
		f.preset, f.hasPreset = tag.Lookup("default")
		f.least, f.most, _ = strings.Cut(tag.Get("range"), "..")
		fields = append(fields, f)
	}
	return fields
}

// word is the text that stands for 0, or "".
func (f field) word() string {
	switch {
	case f.off:
		return "off"
	case f.auto:
		return "auto"
	}
	return ""
}

func names(fields []field) []string {
	list := make([]string, len(fields))
	for i, f := range fields {
		list[i] = f.name
	}
	return list
}

// setDefaults fills a struct, and the structs within it, with the defaults of its tags. Lists and pointers get theirs
// when the file has them. A default that is not valid is a fault of ours.
func setDefaults(v reflect.Value) {
	for _, f := range fieldsOf(v.Type()) {
		at := v.Field(f.index)
		switch {
		case f.hasPreset && at.Kind() == reflect.Slice:
			one := reflect.New(at.Type().Elem()).Elem()
			mustSet(f, one)
			at.Set(reflect.Append(at, one))
		case f.hasPreset:
			mustSet(f, at)
		case at.Kind() == reflect.Struct && !isScalar(at):
			setDefaults(at)
		}
	}
}

func mustSet(f field, v reflect.Value) {
	if err := f.set(v, f.preset); err != nil {
		panic("default of " + f.name + ": " + err.Error())
	}
}
