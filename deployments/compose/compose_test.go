// Package compose_test reads the shipped compose files as compose would, and checks what they refer to.
package compose_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// file is the part of a compose file that matters here. Everything else is unknown to it, and strict decoding refuses that.
type file struct {
	Name     string
	Replica  any `yaml:"x-replica"`
	Services map[string]service
	Networks map[string]any
	Volumes  map[string]any
	Secrets  map[string]struct{ File string }
}

type service struct {
	Image           string
	Environment     map[string]string
	Ports           []string
	Volumes         []string
	Secrets         []string
	Networks        any
	Tmpfs           []string
	DependsOn       any      `yaml:"depends_on"`
	ReadOnly        bool     `yaml:"read_only"`
	CapDrop         []string `yaml:"cap_drop"`
	SecurityOpt     []string `yaml:"security_opt"`
	Healthcheck     any
	Restart         string
	StopGracePeriod string `yaml:"stop_grace_period"`
}

func read(t *testing.T, name string) file {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var f file
	if err := yaml.UnmarshalWithOptions(text, &f, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	if len(f.Services) == 0 {
		t.Fatalf("%s has no services", name)
	}
	return f
}

// madeByTheOperator are the paths that the comment of the file tells how to make; the repository must not hold them.
var madeByTheOperator = []string{"tls", "secrets"}

func TestWhatIsMountedExists(t *testing.T) {
	for _, name := range []string{"sqlite.yaml", "postgres.yaml"} {
		f := read(t, name)
		for service, s := range f.Services {
			for _, v := range s.Volumes {
				source, _, ok := strings.Cut(v, ":")
				if !ok {
					t.Errorf("%s: %s: volume %q has no source", name, service, v)
				}
				if strings.HasPrefix(source, ".") {
					path(t, name, source)
				} else if _, declared := f.Volumes[source]; !declared {
					t.Errorf("%s: %s: volume %q is not declared", name, service, source)
				}
			}
			for _, secret := range s.Secrets {
				path(t, name, f.Secrets[secret].File)
			}
		}
	}
}

// path checks a path on the host, relative to the compose file.
func path(t *testing.T, name, relative string) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	comment, _, _ := strings.Cut(string(text), "\nname:")
	first, _, _ := strings.Cut(filepath.Clean(relative), string(filepath.Separator))
	if slices.Contains(madeByTheOperator, first) {
		if !strings.Contains(comment, filepath.Clean(relative)) {
			t.Errorf("%s does not say how to make %s", name, relative)
		}
		return
	}
	if _, err := os.Stat(relative); err != nil {
		t.Errorf("%s mounts what is not there: %v", name, err)
	}
}

func TestEachTokenhouseRunsWithoutPrivilege(t *testing.T) {
	for name, want := range map[string]int{"sqlite.yaml": 1, "postgres.yaml": 2} {
		found := 0
		for service, s := range read(t, name).Services {
			if !strings.HasPrefix(s.Image, "tokenhouse:") {
				continue
			}
			found++
			if !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
				t.Errorf("%s: %s: read_only %v, cap_drop %v, security_opt %v", name, service, s.ReadOnly, s.CapDrop, s.SecurityOpt)
			}
		}
		if found != want {
			t.Errorf("%s runs %d tokenhouses, want %d", name, found, want)
		}
	}
}

func TestNginxKnowsTheReplicasAndTheyTrustOnlyIt(t *testing.T) {
	f := read(t, "postgres.yaml")
	conf, err := os.ReadFile("../nginx/tokenhouse.conf")
	if err != nil {
		t.Fatal(err)
	}
	upstreams := regexp.MustCompile(`(?m)^\s*server ([a-z-]+):8080 `).FindAllStringSubmatch(string(conf), -1)
	if len(upstreams) != 2 {
		t.Fatalf("nginx has upstreams %q", upstreams)
	}
	nginx, _ := f.Services["nginx"].Networks.(map[string]any)
	inner, _ := nginx["inner"].(map[string]any)
	address, _ := inner["ipv4_address"].(string)
	for _, u := range upstreams {
		replica, ok := f.Services[u[1]]
		if !ok {
			t.Errorf("nginx passes requests to %s, which is no service", u[1])
		}
		if got := replica.Environment["TOKENHOUSE_TRUSTED_PROXIES"]; address == "" || got != address+"/32" {
			t.Errorf("%s trusts %q, nginx has %q", u[1], got, address)
		}
		if got := replica.Environment["TOKENHOUSE_ISSUER"]; !strings.Contains(string(conf), "server_name "+strings.TrimPrefix(got, "https://")+";") {
			t.Errorf("%s has the issuer %s, which nginx does not serve", u[1], got)
		}
	}
}
