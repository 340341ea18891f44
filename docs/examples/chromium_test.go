package examples_test

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// window is a window of a real Chromium, with cookies of its own.
type window struct {
	t   *testing.T
	ctx context.Context
}

// chromium opens a window, which closes with the test.
func chromium(t *testing.T) *window {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Fatal("Chromium is missing; install the package chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // its sandbox does not run as root
	}
	running, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, leave := chromedp.NewContext(running)
	t.Cleanup(func() { _ = chromedp.Cancel(ctx); leave(); stop() })
	// The first call starts the process, which lives as long as the context of it.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	return &window{t: t, ctx: ctx}
}

// ask fails the test where the window does not answer in time, and shows what it shows.
func ask[T any](w *window, what string, a chromedp.Action[T]) T {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience/2)
	defer cancel()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		w.t.Fatalf("%s: %v; the window shows %s", what, err, w.shows())
	}
	return v
}

func (w *window) shows() string {
	ctx, cancel := context.WithTimeout(w.ctx, 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + '\n' + (document.body ? document.body.innerText : '')`))
	if err != nil {
		return err.Error()
	}
	return text
}

func (w *window) open(url string) {
	w.t.Helper()
	ask(w, "open "+url, chromedp.Navigate(url))
}

func (w *window) click(css string) {
	w.t.Helper()
	ask(w, "click "+css, chromedp.Click(chromedp.CSS(css), chromedp.NodeVisible))
}

// evaluate is the value of an expression in the page; ok is false where there is
// none, as between two pages.
func evaluate[T any](w *window, expression string) (v T, ok bool) {
	ctx, cancel := context.WithTimeout(w.ctx, 5*time.Second)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	return v, err == nil
}

// until waits until the expression is true.
func (w *window) until(what, expression string) {
	w.t.Helper()
	for start := time.Now(); time.Since(start) < patience/2; {
		if yes, ok := evaluate[bool](w, expression); ok && yes {
			return
		}
	}
	w.t.Fatalf("%s: it does not happen; the window shows %s", what, w.shows())
}

// reads waits until the element says something with the text in it.
func (w *window) reads(css, text string) {
	w.t.Helper()
	w.until("read "+text+" in "+css, `(() => { const e = document.querySelector('`+css+`'); return e !== null && e.textContent.includes('`+text+`') })()`)
}

// logIn answers the login page as Ada.
func (w *window) logIn() {
	w.t.Helper()
	ask(w, "fill in the login page", chromedp.Steps(
		chromedp.SendKeys(chromedp.CSS("input#email[name=email]"), adaEmail),
		chromedp.SendKeys(chromedp.CSS("input#password[name=password]"), adaPassword),
	))
	w.click("button[type=submit]")
	w.until("the login page is left", `document.readyState === 'complete' && document.querySelector('input#password') === null`)
}

// signIn answers tokenhouse's pages as Ada, who allows what is asked.
func (w *window) signIn() {
	w.t.Helper()
	w.logIn()
	w.click("button[name=decision][value=allow]")
}

// arrives waits until the window is at an address that begins so.
func (w *window) arrives(prefix string) {
	w.t.Helper()
	w.until("come to "+prefix, `location.href.startsWith('`+prefix+`')`)
}

// has reports whether the page has such an element.
func (w *window) has(css string) bool {
	there, _ := evaluate[bool](w, `document.querySelector('`+css+`') !== null`)
	return there
}

// stored is a member of what oidc-client-ts keeps about the user; empty where there is none.
func (w *window) stored(member string) string {
	value, _ := evaluate[string](w, `(() => {
		const key = Object.keys(sessionStorage).find((k) => k.startsWith('oidc.user:'))
		return key ? String(JSON.parse(sessionStorage.getItem(key))['`+member+`'] ?? '') : ''
	})()`)
	return value
}
