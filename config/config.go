// Package config is the YAML file: its keys, their defaults and what makes a file valid.
//
// It builds nothing from the values and imports no other package of wsproxy: cmd turns a Config into
// each package's own settings. It knows only keys whose feature exists, so nothing in a file lies.
//
// The comments on the fields are the reference that users read: docs/configuration.md is made from them.
package config

import (
	"encoding"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
)

// maxFileSize bounds the configuration file. One of a thousand routes has about a tenth of it.
const maxFileSize = 1 << 20

// Config is a whole configuration. Load, Parse and Quick make one with every default filled in; the zero value is not valid.
type Config struct {
	// Where clients connect.
	Listeners []Listener `yaml:"listeners" required:"true"`
	// Which requests go to which upstream, and how their connections are treated. Listeners in reverse mode need them.
	Routes []Route `yaml:"routes"`
	// Named groups of targets, dialled for a route.
	Upstreams []Upstream `yaml:"upstreams"`
	// HTTP CONNECT and SOCKS5 proxies between wsproxy and the targets.
	Egress []Egress `yaml:"egress"`
	// How much the process takes on.
	Limits ProcessLimits `yaml:"limits" reload:"restart"`
	// How listeners with `mode: forward` serve their clients.
	Forward Forward `yaml:"forward"`
	// What moves the bytes of open connections: `loops` is a few event loops that own the sockets (Linux), `goroutines` two goroutines for each connection, `auto` the first that the system has.
	Engine Engine `yaml:"engine" default:"auto" reload:"restart"`
	// How many event loops the engine `loops` has. `auto` is one for each processor that the process may use.
	Workers int `yaml:"workers" default:"auto" range:"1..256" auto:"true" reload:"restart"`
	// The log on standard error.
	Log Log `yaml:"log"`
	// What is exported to OpenTelemetry. The standard `OTEL_*` variables win over this block.
	Telemetry Telemetry `yaml:"telemetry"`
	// The port for health checks, metrics and live connections.
	Admin Admin `yaml:"admin"`
	// How open connections leave when the process is asked to stop.
	Drain Drain `yaml:"drain"`

	name  string // of the file, for problems that ReadFiles finds
	files []fileUse
}

// Load reads the file at path and the secrets that it names, and makes sure that the other files it names can be read.
// What is wrong with the configuration comes back together, as Problems; a path that can't be read is an ordinary error.
func Load(path string) (*Config, error) {
	data, err := readBounded(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	cfg, src := parse(path, data, os.LookupEnv)
	cfg.readFiles(src, openFile)
	return cfg, src.err()
}

// Parse does what Load does, but without the file system: data is the text of the file called name, env looks up
// ${NAME}, and `file:` secrets stay empty until ReadFiles. The Config is of no use when there is an error.
func Parse(name string, data []byte, env func(string) (string, bool)) (*Config, error) {
	cfg, src := parse(name, data, env)
	return cfg, src.err()
}

// Quick is the configuration of `serve --listen :8080 --upstream ws://localhost:9000`: one listener, one route for
// every path and one target. Its problems name the flags.
func Quick(listen, upstream string) (*Config, error) {
	cfg, src := new(Config), newSource("")
	route := Route{Name: "default", Match: "/", Upstream: "default"}
	group := Upstream{Name: "default", Targets: make([]Target, 1)}
	cfg.Listeners, cfg.Routes, cfg.Upstreams = make([]Listener, 1), []Route{route}, []Upstream{group}
	for _, v := range []any{cfg, &cfg.Listeners[0], &cfg.Routes[0], &cfg.Upstreams[0]} {
		setDefaults(reflect.ValueOf(v).Elem())
	}
	setFlag(src, "--listen", listen, &cfg.Listeners[0].Address)
	setFlag(src, "--upstream", upstream, &cfg.Upstreams[0].Targets[0])
	if cfg.Listeners[0].Address == cfg.Admin.Address {
		src.add("--listen", "", "%s is the admin port's address", cfg.Admin.Address)
	}
	return cfg, src.err()
}

func setFlag(src *source, flag, text string, to encoding.TextUnmarshaler) {
	if w, ok := to.UnmarshalText([]byte(text)).(*wanted); ok {
		src.add(flag, w.suggestion, "got %s, want %s", src.quote(flag, text), w.what)
	}
}

// ReadFiles reads the `file:` secrets and makes sure that every other file named can be opened.
// open is the file system; nil is the machine's. What is wrong comes back as Problems.
func (c *Config) ReadFiles(open func(path string) (fs.File, error)) error {
	if open == nil {
		open = openFile
	}
	src := newSource(c.name)
	c.readFiles(src, open)
	return src.err()
}

func openFile(path string) (fs.File, error) { return os.Open(path) }

// readBounded reads one byte more than is allowed, so that parse can tell.
func readBounded(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxFileSize+1))
}

func parse(name string, data []byte, env func(string) (string, bool)) (*Config, *source) {
	src := newSource(name)
	cfg := &Config{name: name}
	setDefaults(reflect.ValueOf(cfg).Elem())
	root := document(src, data)
	if root == nil {
		return cfg, src
	}
	d := &decoder{source: src, env: env, dir: filepath.Dir(name)}
	d.value(root, "", field{}, reflect.ValueOf(cfg).Elem())
	cfg.files = d.files
	cfg.check(src)
	return cfg, src
}
