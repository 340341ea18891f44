package examples_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// apacheModules is where Debian keeps them.
const apacheModules = "/usr/lib/apache2/modules"

// apachePreamble is what an Apache needs before it reads the settings of the
// guide. Nothing lies behind it: what it says when it finds nothing says who asks.
const apachePreamble = `
ServerRoot %DIR%
PidFile %DIR%/pid
ErrorLog %DIR%/error.log
Listen %LISTEN%
ServerName 127.0.0.1
LoadModule mpm_event_module %MODULES%/mod_mpm_event.so
LoadModule authn_core_module %MODULES%/mod_authn_core.so
LoadModule authz_core_module %MODULES%/mod_authz_core.so
LoadModule authz_user_module %MODULES%/mod_authz_user.so
LoadModule auth_openidc_module %MODULES%/mod_auth_openidc.so
DocumentRoot %MODULES%
ErrorDocument 404 "behind Apache: %{REMOTE_USER}"
`

// Apache's module, a certified relying party that nobody here wrote, signs
// people in and out with the settings of the generic guide.
func TestApacheSignsPeopleIn(t *testing.T) {
	c := newClone(t)
	c.follow("README.md").finish()
	blocks := fences(t, "generic.md", "sh")
	settings := fences(t, "generic.md", "apache")
	app := "http://" + c.web
	atHome := strings.NewReplacer("https://app.example.com", app, "https://login.example.com", "http://"+c.house)
	s := c.shell(atHome.Replace(blocks[len(blocks)-1]))
	id := strings.Fields(s.until("^client_id"))[1]
	secret := strings.Fields(s.until("^client_secret"))[1]
	s.finish()
	conf := atHome.Replace(strings.NewReplacer("cli_…", id, "ths_…", secret, "…", "a passphrase").Replace(settings[0]))
	c.apache(regexp.MustCompile("(OIDCCryptoPassphrase) (.*)").ReplaceAllString(conf, `$1 "$2"`))

	w := opens(t, app+"/first")
	w.signsIn()
	w.Reads("body", "behind Apache: "+adaEmail)

	w.Go(app + "/oidc/callback?logout=" + strings.NewReplacer(":", "%3A", "/", "%2F").Replace(app+"/"))
	w.Reads("h1", "Sign in")
	w.logsIn()
	w.Reads("body", "behind Apache: "+adaEmail)

	w.Go("http://" + c.house + "/oauth2/logout")
	w.Click("button[type=submit]")
	w.Reads("h1", "You have been logged out")
	c.eventually("Apache hears of the logout", func() bool {
		w.Go(app + "/later")
		return w.Has("input#password")
	})
}

// apache serves with the settings.
func (c *clone) apache(settings string) {
	c.t.Helper()
	path, err := exec.LookPath("apache2")
	if err != nil {
		path = "/usr/sbin/apache2" // which is not in everybody's PATH
	}
	if _, err := os.Stat(filepath.Join(apacheModules, "mod_auth_openidc.so")); err != nil {
		c.t.Fatalf("Apache's module is missing; install libapache2-mod-auth-openidc: %v", err)
	}
	dir := c.t.TempDir()
	preamble := strings.NewReplacer("%DIR%", dir, "%LISTEN%", c.web, "%MODULES%", apacheModules).Replace(apachePreamble)
	if os.Getuid() == 0 {
		preamble += "User www-data\nGroup www-data\n"
	}
	file := filepath.Join(dir, "httpd.conf")
	if err := os.WriteFile(file, []byte(preamble+settings), 0o600); err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command(path, "-f", file, "-DFOREGROUND")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	start(c.t, cmd)
	c.t.Cleanup(func() {
		if text, err := os.ReadFile(filepath.Join(dir, "error.log")); err == nil && c.t.Failed() {
			c.t.Logf("Apache logged\n%s", text)
		}
	})
	c.eventually("Apache serves", func() bool { return answers("http://" + c.web + "/") })
}
