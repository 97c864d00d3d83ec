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
//	off       a duration that may be off
//	reload    "restart": neither the key nor what is below it can be changed while wsproxy runs
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
		f := field{name: name, index: i, required: tag.Get("required") == "true", off: tag.Get("off") == "true", restart: tag.Get("reload") == "restart"}
		f.preset, f.hasPreset = tag.Lookup("default")
		f.least, f.most, _ = strings.Cut(tag.Get("range"), "..")
		fields = append(fields, f)
	}
	return fields
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
