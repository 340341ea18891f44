package main

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// printed is what a command prints.
func printed(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	p := process{Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Now: time.Now}
	if code := p.run(context.Background()); code != 0 {
		t.Fatalf("%v: exit code %d: %s", args, code, errs.String())
	}
	return out.String()
}

// The generated rules are well-formed for their scanners, and find a key where
// it stands.
// AK-73.
func TestScannerRules(t *testing.T) {
	gitleaks := map[string]string{} // TOML, one value a line
	for line := range strings.Lines(printed(t, "api-key", "scanner-rules", "--prefix", "acme_live")) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " = "); ok {
			gitleaks[name] = strings.Trim(value, `'"`)
		}
	}
	if gitleaks["id"] != "acme-live-api-key" || gitleaks["secretGroup"] != "1" || gitleaks["keywords"] != `["acme_live_"]` || gitleaks["useDefault"] != "true" {
		t.Errorf("%+v", gitleaks)
	}
	var trufflehog struct {
		Detectors []struct {
			Name     string
			Keywords []string
			Regex    map[string]string
		}
	}
	if err := yaml.Unmarshal([]byte(printed(t, "api-key", "scanner-rules", "--format", "trufflehog", "--prefix", "acme_live")), &trufflehog); err != nil {
		t.Fatal(err)
	}
	bare := strings.TrimSpace(printed(t, "api-key", "scanner-rules", "--format", "regex", "--prefix", "acme_live_"))
	key := "acme_live_" + strings.Repeat("0aZ", 15) + "x"
	for name, pattern := range map[string]string{"gitleaks": gitleaks["regex"], "trufflehog": trufflehog.Detectors[0].Regex["key"], "regex": bare} {
		re, err := regexp.Compile(pattern)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for text, want := range map[string]bool{
			"KEY=" + key: true, key + "\n": true, "\"" + key + "\"": true, "MY_" + key + " ": true,
			key[:len(key)-1]: false, key + "x": false, strings.ToUpper(key): false,
		} {
			found := re.FindStringSubmatch(text)
			if (found != nil) != want || want && found[1] != key {
				t.Errorf("%s: in %q: %q", name, text, found)
			}
		}
	}
}
