package forwardauth_test

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// Traefik itself is not run here: what its manual says that it asks, with the
// shipped file, is answered as the file expects.
// AK-61.
func TestTheQuestionsOfTraefikAreAnswered(t *testing.T) {
	text, err := os.ReadFile("../traefik/dynamic.yaml")
	must(t, err)
	type middleware struct {
		ForwardAuth struct {
			Address string   `yaml:"address"`
			Trust   bool     `yaml:"trustForwardHeader"`
			Headers []string `yaml:"authResponseHeaders"`
		} `yaml:"forwardAuth"`
	}
	var file struct {
		HTTP struct {
			Routers map[string]struct {
				Middlewares []string `yaml:"middlewares"`
			} `yaml:"routers"`
			Middlewares map[string]middleware `yaml:"middlewares"`
		} `yaml:"http"`
	}
	must(t, yaml.Unmarshal(text, &file))
	for name, r := range file.HTTP.Routers {
		for _, m := range r.Middlewares {
			if _, ok := file.HTTP.Middlewares[m]; !ok {
				t.Errorf("the router %s names a middleware %s that is not there", name, m)
			}
		}
	}
	h := housetest.Start(t, housetest.Options{})
	admin := h.Client().As(h.Login(h.Admin).Access)
	_, may := admin.CreateKey("may", "incidents:read")
	_, not := admin.CreateKey("may not", "agents:read")
	for name, want := range map[string]map[string]int{
		"tokenhouse":                {may: http.StatusOK, not: http.StatusOK, "": http.StatusUnauthorized},
		"tokenhouse-incidents-read": {may: http.StatusOK, not: http.StatusForbidden, "": http.StatusUnauthorized},
	} {
		ask := file.HTTP.Middlewares[name].ForwardAuth
		path, ok := strings.CutPrefix(ask.Address, "http://tokenhouse:8080")
		if !ok || ask.Trust || !slices.Equal(ask.Headers, identityHeaders) {
			t.Fatalf("%s: %+v", name, ask)
		}
		for key, status := range want {
			c := h.Client().With("X-Forwarded-Method", "POST").With("X-Forwarded-Proto", "https").With("X-Forwarded-Host", "app.example.com").
				With("X-Forwarded-Uri", "/incidents?permission=agents:read").With("X-Forwarded-For", "192.0.2.7")
			if key != "" {
				c = c.WithKey(key)
			}
			reply := c.Get(path)
			if reply.Status != status {
				t.Errorf("%s: %s, want %d", name, reply, status)
			}
			for _, header := range identityHeaders {
				if _, there := reply.Header[header]; there != (status == http.StatusOK) {
					t.Errorf("%s: %d with %s: %v", name, reply.Status, header, there)
				}
			}
		}
	}
}
