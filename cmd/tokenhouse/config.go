package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"github.com/tokenhouse/tokenhouse/internal/house"
)

// envPrefix begins the environment variables that are ours.
const envPrefix = "TOKENHOUSE_"

// foreign are variables of that prefix that are no settings: tests use the first.
var foreign = []string{envPrefix + "TEST_"}

// given is a value and where it stands, for messages.
type given struct {
	Text   string
	Origin string // "tokenhouse.yaml:3:9", "TOKENHOUSE_LISTEN" or "--listen"
}

// layer is one source of values. It is what koanf merges; later layers win.
type layer map[string]any

// Read is for koanf.
func (l layer) Read() (map[string]any, error) { return l, nil }

// ReadBytes is for koanf, which does not call it without a parser.
func (l layer) ReadBytes() ([]byte, error) { return nil, errors.ErrUnsupported }

// mistake is one thing about the configuration that its author should know.
type mistake struct {
	Where   string `json:"where"` // the place in the file, the variable or the flag; the key where it has a default
	Problem string `json:"problem"`
	Fix     string `json:"fix,omitempty"`
	Warning bool   `json:"warning,omitempty"`
}

func (m mistake) String() string {
	s := m.Where + ": " + m.Problem
	if m.Fix != "" {
		s += "\n    right would be: " + m.Fix
	}
	return s
}

// source is where configuration is read from.
type source struct {
	file    string // --config
	flags   *pflag.FlagSet
	environ []string
}

// load reads flags over the environment over the file, and finds every mistake
// at once. Without mistakes (warnings aside) the configuration can be served.
func (s source) load() (config, []mistake) {
	c := defaults()
	var found []mistake
	merged := koanf.New("\x00") // keys are flat: no delimiter occurs in one
	for _, read := range []func() (layer, []mistake){s.readFile, s.readEnvironment, s.readFlags} {
		l, ms := read()
		found = append(found, ms...)
		if err := merged.Load(l, nil); err != nil {
			found = append(found, mistake{Where: "configuration", Problem: err.Error()})
		}
	}
	origin := map[string]string{}
	for _, st := range settings() {
		g, ok := merged.Get(st.key).(given)
		if !ok {
			continue
		}
		origin[st.key] = g.Origin
		if err := st.set(&c, g.Text); err != nil {
			found = append(found, mistake{Where: g.Origin, Problem: st.key + ": " + err.Error()})
		}
	}
	if dir := s.variable("CREDENTIALS_DIRECTORY"); dir != "" {
		c.House.Sealing.Credentials = dir
	}
	tracing, problems := s.readTracing()
	c.Tracing, found = tracing, append(found, problems...)
	for _, f := range slices.Concat(c.Serve.check(), c.Log.check(), c.House.Check()) {
		m := mistake{Where: f.Key, Problem: f.Problem, Fix: f.Fix, Warning: f.Warning}
		if o := origin[f.Key]; o != "" {
			m.Where, m.Problem = o, f.Key+": "+f.Problem
		}
		found = append(found, m)
	}
	return c, found
}

func (s source) variable(name string) string {
	for _, kv := range s.environ {
		if k, v, _ := strings.Cut(kv, "="); k == name {
			return v
		}
	}
	return ""
}

// readEnvironment takes the variables that begin with TOKENHOUSE_. An empty
// one counts as not set.
func (s source) readEnvironment() (layer, []mistake) {
	l, found := layer{}, []mistake(nil)
	all := settings()
	for _, kv := range s.environ {
		name, value, _ := strings.Cut(kv, "=")
		if value == "" || !strings.HasPrefix(name, envPrefix) || slices.ContainsFunc(foreign, func(p string) bool { return strings.HasPrefix(name, p) }) {
			continue
		}
		i := slices.IndexFunc(all, func(st setting) bool { return st.env() == name })
		if i < 0 {
			found = append(found, mistake{Where: name, Problem: "there is no such setting", Fix: suggestion(name, setting.env)})
		} else {
			l[all[i].key] = given{value, name}
		}
	}
	return l, found
}

// readFlags takes the flags that were set. Secrets have none, and a password
// within a URL is refused: every user of the machine may read arguments.
func (s source) readFlags() (layer, []mistake) {
	l, found := layer{}, []mistake(nil)
	for _, st := range settings() {
		f := s.flags.Lookup(st.flag())
		if f == nil || !f.Changed {
			continue
		}
		origin := "--" + st.flag()
		if u, err := url.Parse(f.Value.String()); err == nil && u.User != nil {
			if _, has := u.User.Password(); has {
				found = append(found, mistake{Where: origin, Problem: "every user of this machine may read the password in an argument", Fix: "the same URL in " + st.env() + " or in the configuration file"})
			}
		}
		l[st.key] = given{f.Value.String(), origin}
	}
	return l, found
}

// suggestion names the setting whose spelling is nearest, if one is near.
func suggestion(name string, spelling func(setting) string) string {
	best, least := "", len(name)/3+1
	for _, st := range settings() {
		if d := distance(strings.ToLower(name), strings.ToLower(spelling(st))); d < least {
			best, least = spelling(st), d
		}
	}
	if best == "" {
		return "tokenhouse serve --help lists the settings"
	}
	return best
}

// distance is how many letters must be put in, taken out or changed to get from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		left, diagonal := i+1, i
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			d := min(row[j+1]+1, left+1, diagonal+cost)
			diagonal, row[j], left = row[j+1], left, d
		}
		row[len(b)] = left
	}
	return row[len(b)]
}

func (s serveConfig) check() []house.Finding {
	var f []house.Finding
	for _, l := range []struct{ key, addr string }{{"listen", s.Listen}, {"ops_listen", s.OpsListen}} {
		host, port, err := net.SplitHostPort(l.addr)
		if n, e := net.LookupPort("tcp", port); err != nil || e != nil || n < 0 || strings.Contains(host, "/") {
			f = append(f, house.Finding{Key: l.key, Problem: fmt.Sprintf("%q is not host:port", l.addr), Fix: "such as 127.0.0.1:8080, or :8080 for every address of this machine"})
		}
	}
	if _, port, _ := net.SplitHostPort(s.Listen); s.Listen == s.OpsListen && port != "0" {
		f = append(f, house.Finding{Key: "ops_listen", Problem: "it is the public listener as well, which would show metrics to everybody", Fix: "another port, such as 127.0.0.1:9464"})
	}
	if s.ShutdownDelay < 0 || s.ShutdownDelay > 10*time.Minute {
		f = append(f, house.Finding{Key: "shutdown_delay", Problem: s.ShutdownDelay.String() + " is out of range", Fix: "0s to 10m; 5s is right behind most load balancers"})
	}
	if s.ShutdownTimeout < 0 || s.ShutdownTimeout > 10*time.Minute {
		f = append(f, house.Finding{Key: "shutdown_timeout", Problem: s.ShutdownTimeout.String() + " is out of range", Fix: "0s to 10m"})
	}
	return f
}

func (l logConfig) check() []house.Finding {
	var f []house.Finding
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, l.Level) {
		f = append(f, house.Finding{Key: "log_level", Problem: fmt.Sprintf("%q", l.Level), Fix: "debug, info, warn or error"})
	}
	if !slices.Contains([]string{"auto", "text", "json"}, l.Format) {
		f = append(f, house.Finding{Key: "log_format", Problem: fmt.Sprintf("%q", l.Format), Fix: "auto, text or json"})
	}
	return f
}

// fileMistake is a file that cannot be read.
func fileMistake(path string, err error) mistake {
	var pe *os.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return mistake{Where: path, Problem: "it cannot be read: " + err.Error(), Fix: "the path of a YAML file"}
}
