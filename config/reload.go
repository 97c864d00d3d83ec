package config

import (
	"reflect"
)

// Same reports whether o says the same as c: the same values, secrets included, wherever they stand in the file.
func (c *Config) Same(o *Config) bool {
	return equal(reflect.ValueOf(c).Elem(), reflect.ValueOf(o).Elem())
}

// equal compares two blocks key by key.
func equal(x, y reflect.Value) bool {
	for _, f := range fieldsOf(x.Type()) {
		if !reflect.DeepEqual(x.Field(f.index).Interface(), y.Field(f.index).Interface()) {
			return false
		}
	}
	return true
}

// SecretFiles are the files that the configuration's secrets were read from.
func (c *Config) SecretFiles() []string {
	var files []string
	for _, use := range c.files {
		if use.secret != nil {
			files = append(files, use.file)
		}
	}
	return files
}

// CheckReload returns, as Problems, each key of next that differs from c and that a process that runs under c can't take
// over without a restart.
func (c *Config) CheckReload(next *Config) error {
	src := newSource(next.name)
	checkReload(src, "", reflect.ValueOf(c).Elem(), reflect.ValueOf(next).Elem())
	return src.err()
}

func checkReload(src *source, at string, former, next reflect.Value) {
	for _, f := range fieldsOf(former.Type()) {
		path, x, y := key(at, f.name), former.Field(f.index), next.Field(f.index)
		switch {
		case f.restart && !reflect.DeepEqual(x.Interface(), y.Interface()):
			src.add(path, "", "is not what wsproxy runs with, and can only be changed by a restart")
		case !f.restart && x.Kind() == reflect.Struct && !isScalar(x):
			checkReload(src, path, x, y)
		}
	}
}
