package shell

import (
	"embed"
	"encoding/hex"
	"io/fs"
	"path"

	"github.com/tokenhouse/tokenhouse/internal/secret"
)

//go:embed assets
var assetFiles embed.FS

// AssetsPath is where the files answer that pages load.
const AssetsPath = "/assets/console/"

// Asset is a file that pages load. Its address carries its version, so that a
// browser may keep it for ever.
type Asset struct {
	Name    string // "console.css"
	Kind    string // media type
	Body    []byte
	Version string // changes with Body
}

var assets = readAssets()

var kinds = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

func readAssets() map[string]Asset {
	out := map[string]Asset{}
	entries, err := fs.ReadDir(assetFiles, "assets")
	if err != nil {
		panic(err) // it is embedded
	}
	for _, e := range entries {
		kind, ok := kinds[path.Ext(e.Name())]
		if !ok {
			continue // licences
		}
		body, err := assetFiles.ReadFile("assets/" + e.Name())
		if err != nil {
			panic(err)
		}
		out[e.Name()] = Asset{Name: e.Name(), Kind: kind, Body: body, Version: hex.EncodeToString(secret.Sum(string(body))[:6])}
	}
	return out
}

// Assets lists every file that pages of the console load, by name; they load
// nothing else.
func Assets() map[string]Asset { return assets }
