package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// File is the path of a file that the configuration names, relative to the working folder: what the configuration has is
// relative to its own folder. Empty is none.
type File string

// fileUse is a file that the configuration names, and where.
type fileUse struct {
	path   string
	line   int
	file   string
	secret *string // to fill, or nil for a file that another package will read
}

// readFiles opens every file named and reads those that hold secrets.
func (c *Config) readFiles(src *source, open func(string) (fs.File, error)) {
	for _, use := range c.files {
		src.marks[use.path] = mark{line: use.line}
		if err := use.read(open); err != nil {
			src.add(use.path, "", "%v", err)
		}
	}
	c.checkSecrets(src)
}

func (u fileUse) read(open func(string) (fs.File, error)) error {
	file, err := open(u.file)
	if err != nil {
		return fmt.Errorf("can't read %s: %w", u.file, cause(err))
	}
	defer file.Close()
	switch info, err := file.Stat(); {
	case err != nil:
		return fmt.Errorf("can't read %s: %w", u.file, cause(err))
	case info.IsDir():
		return fmt.Errorf("can't read %s: it is a directory", u.file)
	case u.secret == nil:
		return nil
	}
	return u.readSecret(file)
}

func (u fileUse) readSecret(file fs.File) error {
	data, err := io.ReadAll(io.LimitReader(file, maxSecretSize+1))
	switch {
	case err != nil:
		return fmt.Errorf("can't read %s: %w", u.file, cause(err))
	case len(data) > maxSecretSize:
		return fmt.Errorf("%s is larger than 64 KiB", u.file)
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if value == "" {
		return fmt.Errorf("%s is empty", u.file)
	}
	*u.secret = value
	return nil
}

// cause is an error without the operation and path around it: the problem names the file already.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
