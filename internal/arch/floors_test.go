package arch

import (
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/tokenhouse/tokenhouse/"

// floors says who stands on whom: a package imports packages of lower floors,
// never of its own or a higher one. ARCHITECTURE.md explains them.
var floors = map[string]int{
	"internal/fault": 0, "internal/scope": 0, "internal/secret": 0, "accounts/breached": 0, "accounts/breached/build": 1,
	"internal/ident": 1, "internal/tracing": 1,
	"audit": 2, "internal/changes": 2, "internal/coherent": 2, "keys/sealing": 2, "internal/outbound": 2,
	"accounts": 3, "tokens": 3, "tokens/verify": 3, "keys/signing": 3, "keys/apikeys": 3, "audit/webhooks": 3, "audit/outputs": 3, "audit/activity": 3,
	"keys/masterkey": 3, "keys/masterkey/vault": 3, "keys/masterkey/pkcs11": 3, "keys/masterkey/cloudkms": 3,
	"oauth": 4, "tokens/verify/ginverify": 4, "accounts/mail": 4, "accounts/captcha": 4, "server/console/shell": 4,
	"metrics": 5, "storage/gormstore": 5, "storage/faulty": 5,
	"server/pages": 5, "server/console/settings": 5, "server/console/organization": 5, "server/console/operations": 5,
	"server": 6, "server/demo": 6, "storage": 6, "storage/migrated": 6,
	"internal/house": 7, "storage/storagetest": 7,
	"internal/housetest": 8, "internal/drills": 8,
	"cmd/tokenhouse": 9,
	// Tools and tests of their own, on which nothing stands.
	"internal/browsertest": 0,
	"internal/softhsmtest": 0,
	"internal/smtptest":    1,
	"internal/captchatest": 0,
	"internal/tlstest":     0,
	"internal/rapidtest":   0,
	"internal/shippedtest": 0,
	"internal/pgtest":      0, "internal/pgtest/withpostgres": 1, "internal/testreport": 1,
	"internal/arch": 0, "internal/coverage": 0, "internal/citations": 0, "internal/bench": 9,
	"docs/examples/go-verify": 0, "docs/examples/go-cli": 0, "docs/examples/go-service": 0,
}

// owners lists the only packages that may import a library. What no row names
// may be imported by all.
var owners = map[string][]string{
	"gorm.io/":                             {"storage/gormstore"},
	"modernc.org/":                         {"storage/gormstore", "internal/bench"},
	"database/sql":                         {"storage/gormstore", "internal/pgtest", "internal/bench"},
	"github.com/jackc/pgx":                 {"storage/gormstore", "internal/pgtest", "internal/bench"},
	"github.com/pressly/goose":             {"storage/gormstore"},
	"github.com/gin-gonic/":                {"server", "server/pages", "tokens/verify/ginverify", "internal/bench"},
	"net/http":                             {"server", "server/pages", "server/console/shell", "server/console/settings", "server/console/organization", "server/console/operations", "server/demo", "tokens/verify", "tokens/verify/ginverify", "metrics", "internal/house", "internal/housetest", "cmd/tokenhouse", "internal/bench", "docs/examples/go-verify", "docs/examples/go-cli", "internal/outbound", "internal/captchatest", "internal/tracing", "keys/masterkey/vault", "keys/masterkey/cloudkms"},
	"github.com/prometheus/":               {"metrics"},
	"github.com/go-jose/":                  {"audit", "keys/signing", "tokens", "tokens/verify", "oauth", "internal/bench", "internal/housetest", "docs/examples/go-verify", "internal/outbound"},
	"github.com/maypok86/otter":            {"internal/coherent"},
	"golang.org/x/crypto":                  {"accounts", "internal/bench"},
	"github.com/chromedp/":                 {"internal/browsertest"},
	"github.com/spf13/":                    {"cmd/tokenhouse"},
	"github.com/knadh/":                    {"cmd/tokenhouse"},
	"github.com/wneessen/go-mail":          {"accounts/mail"},
	"github.com/emersion/":                 {"internal/smtptest"},
	"github.com/miekg/pkcs11":              {"keys/masterkey/pkcs11", "internal/softhsmtest"},
	"gocloud.dev":                          {"keys/masterkey/cloudkms"},
	"github.com/Azure/":                    {"keys/masterkey/cloudkms"},
	"go.opentelemetry.io/":                 {"internal/tracing"},
	"google.golang.org/protobuf":           {"internal/tracing"},
	"google.golang.org/grpc":               {"keys/masterkey/cloudkms"},
	"math/rand":                            {"internal/bench"},
	"github.com/stretchr/testify":          {},
	"github.com/tokenhouse/tokenhouse/cmd": {},
}

// verifyImports is all that a resource server has to take with tokens/verify.
var verifyImports = []string{"github.com/go-jose/go-jose/v4"}

func TestFloors(t *testing.T) {
	for _, file := range sources(t) {
		pkg := path.Dir(file)
		mine, known := floors[pkg]
		if !known {
			t.Errorf("%s is on no floor; add it to floors and to ARCHITECTURE.md", pkg)
			continue
		}
		for _, imp := range importsOf(t, file) {
			if to, ok := strings.CutPrefix(imp, module); ok {
				if at, known := floors[to]; known && at >= mine {
					t.Errorf("%s (floor %d) imports %s (floor %d)", file, mine, to, at)
				}
			}
			for lib, who := range owners {
				if (imp == strings.TrimSuffix(lib, "/") || strings.HasPrefix(imp, strings.TrimSuffix(lib, "/")+"/")) && !slices.Contains(who, pkg) {
					t.Errorf("%s imports %s; only %v may", file, imp, who)
				}
			}
		}
	}
}

func TestVerifyImportsOnlyGoJoseAndTheStandardLibrary(t *testing.T) {
	for _, file := range sources(t) {
		if path.Dir(file) != "tokens/verify" {
			continue
		}
		for _, imp := range importsOf(t, file) {
			outside := strings.Contains(strings.Split(imp, "/")[0], ".")
			if outside && !slices.ContainsFunc(verifyImports, func(ok string) bool { return imp == ok || strings.HasPrefix(imp, ok+"/") }) {
				t.Errorf("%s imports %s", file, imp)
			}
		}
	}
}

func importsOf(t *testing.T, file string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]string, len(f.Imports))
	for i, im := range f.Imports {
		out[i], _ = strconv.Unquote(im.Path.Value)
	}
	return out
}
