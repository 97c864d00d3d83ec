package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

func TestSecretIsNeverPrinted(t *testing.T) {
	canary := "canary-4711"
	secret := Secret{value: &canary}
	type outer struct {
		Shown  Secret
		hidden Secret
		Map    map[string]Secret
	}
	values := []any{secret, &secret, []Secret{secret}, outer{secret, secret, map[string]Secret{"a": secret}}}
	var out bytes.Buffer
	for _, value := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
			fmt.Fprintf(&out, verb+"\n", value)
		}
		text, err := json.Marshal(value)
		out.Write(text)
		if err != nil {
			t.Error(err)
		}
		text, err = yaml.Dump(value)
		out.Write(text)
		if err != nil {
			t.Error(err)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "s", value)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "s", value)
	}
	printed := out.String()
	if strings.Contains(printed, canary) || strings.Contains(printed, fmt.Sprintf("%x", canary)) {
		t.Errorf("got the secret in\n%s", printed)
	}
	for _, want := range []string{`"[secret]"`, `s=[secret]`, "[secret]\n"} {
		if !strings.Contains(printed, want) {
			t.Errorf("got\n%s\nwant %s in it", printed, want)
		}
	}
	if got := secret.Value(); got != canary {
		t.Errorf("Value: got %q, want %q", got, canary)
	}
}
