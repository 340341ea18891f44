package server

import "testing"

// SEC-WEB-14: after a login only a path of ours is gone on to.
func TestOnlyPathsOfOursAreGoneOnTo(t *testing.T) {
	for _, good := range []string{"/", "/docs", "/console/keys?tab=1&x=%20y", "/a-b_c~d/e.f"} {
		if localPath(good) != good {
			t.Errorf("%q is refused", good)
		}
	}
	for _, bad := range []string{
		"", "docs", "//evil.example", "///evil.example", `/\evil.example`, `\/evil.example`, `\\evil.example`, "/\t/evil.example", "/%09/evil.example", "/\n/evil.example",
		"https:evil.example", "https://evil.example", "https:/evil.example", "HTTPS://evil.example", "//evil.example@ours", "/%5cevil.example", "/%5C%5Cevil.example",
		"/%2f%2fevil.example", "/%2fevil.example", "/x//evil.example", "javascript:alert(1)", "data:text/html,x", " //evil.example", " /x", "/x y", "/x#//evil.example", "/\u2028/evil.example",
		"/\x00/evil.example", "/%00", "/%zz", ".evil.example", "@evil.example", ":@evil.example", "/ｅvil",
	} {
		if got := localPath(bad); got != "" {
			t.Errorf("%q leads to %q", bad, got)
		}
	}
}
