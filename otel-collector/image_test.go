package stack_test

import (
	"context"
	"encoding/json"
	"go/version"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

const dockerfile = root + "/Dockerfile"

// offline stands for the registry: every base image is an empty Linux.
type offline struct{}

func (offline) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	text, err := json.Marshal(dockerspec.DockerOCIImage{Image: ocispecs.Image{Platform: platform()}})
	return ref, digest.FromBytes(text), text, err
}

func platform() ocispecs.Platform { return ocispecs.Platform{OS: "linux", Architecture: "amd64"} }

// conversion is how BuildKit reads the Dockerfile.
func conversion(text []byte) dockerfile2llb.ConvertOpt {
	files := llb.Local("context")
	source := llb.NewSourceMap(&files, "Dockerfile", "Dockerfile", text)
	source.Definition = new(llb.Definition)
	o := dockerfile2llb.ConvertOpt{MainContext: &files, SourceMap: source, MetaResolver: offline{}, TargetPlatform: new(platform())}
	o.BuildPlatforms = []ocispecs.Platform{platform()}
	return o
}

func TestBuildKitHasNoWarnings(t *testing.T) {
	text := readFile(t, dockerfile)
	results, err := dockerfile2llb.DockerfileLint(t.Context(), text, conversion(text))
	if err != nil {
		t.Fatal(err)
	}
	if results.Error != nil {
		t.Errorf("got error %s", results.Error.Message)
	}
	for _, w := range results.Warnings {
		t.Errorf("line %d: %s: %s", w.Location.Ranges[0].Start.Line, w.RuleName, w.Detail)
	}
}

// image is the configuration of the image that would be made.
func image(t *testing.T) dockerspec.DockerOCIImageConfig {
	t.Helper()
	text := readFile(t, dockerfile)
	result, err := dockerfile2llb.Dockerfile2LLB(t.Context(), text, conversion(text))
	if err != nil {
		t.Fatal(err)
	}
	return result.Image.Config
}

// imageCommands are what the image runs, and how its health is checked.
func imageCommands(t *testing.T) (command, health []string) {
	t.Helper()
	c := image(t)
	return c.Cmd, c.Healthcheck.Test
}

func TestImage(t *testing.T) {
	c := image(t)
	if !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(c.User) {
		t.Errorf("got user %q, want two numbers above 0: runtimes that demand a non-root user look no names up", c.User)
	}
	for what, pair := range map[string][2][]string{
		"entrypoint": {c.Entrypoint, {"/wsproxy"}},
		"command":    {c.Cmd, {"serve", "--config", "/etc/wsproxy/wsproxy.yaml"}},
		"ports":      {slices.Sorted(maps.Keys(c.ExposedPorts)), {"8080/tcp", "9900/tcp"}},
		"stop":       {{c.StopSignal}, {"SIGTERM"}},
	} {
		if got, want := pair[0], pair[1]; !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	if c.Healthcheck == nil || !slices.Equal(c.Healthcheck.Test, []string{"CMD", "/wsproxy", "ready"}) {
		t.Errorf("got health check %+v", c.Healthcheck)
	}
	for _, label := range []string{"title", "description", "licenses", "version"} {
		if c.Labels["org.opencontainers.image."+label] == "" {
			t.Errorf("got no label %s: %v", label, c.Labels)
		}
	}
}

func TestImageIsBuiltFromScratchByAPinnedGo(t *testing.T) {
	stages := stagesOf(t)
	if last := stages[len(stages)-1]; last.BaseName != "scratch" {
		t.Errorf("got base %s, want scratch", last.BaseName)
	}
	builder := regexp.MustCompile(`^golang:(\d+\.\d+\.\d+)-alpine$`).FindStringSubmatch(stages[0].BaseName)
	if builder == nil {
		t.Fatalf("got build image %s, want a full version of golang", stages[0].BaseName)
	}
	wanted := regexp.MustCompile(`(?m)^go (\S+)$`).FindSubmatch(readFile(t, root+"/go.mod"))
	if wanted == nil || version.Compare("go"+builder[1], "go"+string(wanted[1])) < 0 {
		t.Errorf("got go %s, want at least go.mod's %s", builder[1], wanted)
	}
}

// A shell takes a variable that is not there for an empty one.
func TestBuildArgumentsAreDeclared(t *testing.T) {
	for _, stage := range stagesOf(t) {
		declared := make(map[string]bool)
		for _, c := range stage.Commands {
			switch c := c.(type) {
			case *instructions.ArgCommand:
				for _, a := range c.Args {
					declared[a.Key] = true
				}
			case *instructions.RunCommand:
				for _, v := range regexp.MustCompile(`\$(\w+)`).FindAllStringSubmatch(strings.Join(c.CmdLine, " "), -1) {
					if !declared[v[1]] {
						t.Errorf("got RUN with $%s, which no ARG declares", v[1])
					}
				}
			}
		}
	}
}

func stagesOf(t *testing.T) []instructions.Stage {
	t.Helper()
	parsed, err := parser.Parse(strings.NewReader(string(readFile(t, dockerfile))))
	if err != nil {
		t.Fatal(err)
	}
	stages, _, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		t.Fatal(err)
	}
	return stages
}

func TestBuildContextHasWhatTheBinaryNeeds(t *testing.T) {
	ignored := ignoring(t)
	list := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps", "-json=Dir,Module,GoFiles,EmbedFiles", "./cmd/wsproxy")
	list.Dir, list.Env = root, append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0", "GOFLAGS=")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	files := []string{"go.mod", "go.sum"}
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p struct {
			Dir                 string
			Module              *struct{ Main bool }
			GoFiles, EmbedFiles []string
		}
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		if p.Module == nil || !p.Module.Main {
			continue
		}
		folder, err := filepath.Rel(absolute(root), p.Dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range append(p.GoFiles, p.EmbedFiles...) {
			files = append(files, filepath.ToSlash(filepath.Join(folder, name)))
		}
	}
	if len(files) < 50 {
		t.Fatalf("got only %q", files)
	}
	for _, f := range files {
		if ignored(f) {
			t.Errorf(".dockerignore leaves out %s", f)
		}
	}
}

func TestBuildContextHasNothingElse(t *testing.T) {
	ignored := ignoring(t)
	for _, f := range []string{
		".git/config", ".env", "wsproxy.yaml", "wsproxy.example.yaml", "tls/key.pem", "wsproxy", "docker-compose.yml", "Dockerfile",
		"README.md", "docs/telemetry.md", "e2e/servers/get", "otel-collector/config.yaml", "proxy/server_test.go", "egress/testdata/phases.golden",
	} {
		if !ignored(f) {
			t.Errorf(".dockerignore lets %s into the build", f)
		}
	}
}

// ignoring says of a path whether BuildKit would leave it out of the context.
func ignoring(t *testing.T) func(string) bool {
	t.Helper()
	patterns, err := ignorefile.ReadAll(strings.NewReader(string(readFile(t, root+"/.dockerignore"))))
	if err != nil {
		t.Fatal(err)
	}
	matcher, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	return func(path string) bool {
		ignored, err := matcher.MatchesOrParentMatches(path)
		if err != nil {
			t.Fatal(err)
		}
		return ignored
	}
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
