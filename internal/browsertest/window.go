// Package browsertest opens pages in a real Chromium, as people see them. What
// a page is like without a screen, housetest.Browser tells faster.
package browsertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// EnvScreenshots names a directory that keeps the pictures; without it they end
// with the test.
const EnvScreenshots = "TOKENHOUSE_TEST_SCREENSHOTS"

// installHint says what to do where there is no browser: a test is not skipped.
const installHint = "browsertest: no Chromium to test with; run make testenv, or install it:\n\tDebian, Ubuntu: apt-get install chromium\n\tFedora:         dnf install chromium"

// patience is how long a page may take, on a machine that is busy.
const patience = 30 * time.Second

// Look is how a window looks at pages. The zero Look is a laptop's.
type Look struct {
	Width    int64 // in CSS pixels; 1280 where zero
	Height   int64 // 800 where zero
	Dark     bool  // prefers-color-scheme
	NoScript bool
}

// Window is a window of a browser of its own, without cookies.
type Window struct {
	t      testing.TB
	ctx    context.Context
	script bool // whether pages run scripts

	mu       sync.Mutex
	messages []string // of the console
}

// find returns the program of the browser.
func find() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New(installHint)
}

// Open opens a window, which closes with the test.
func Open(t testing.TB, look Look) *Window {
	t.Helper()
	path, err := find()
	if err != nil {
		t.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.Flag("lang", "en"))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // the sandbox does not run as root
	}
	running, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, leave := chromedp.NewContext(running)
	w := &Window{t: t, ctx: ctx}
	t.Cleanup(func() { _ = chromedp.Cancel(ctx); leave(); stop() }) // the process may be gone
	// The first call starts the process, which lives as long as its context.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	w.listen()
	w.LookAs(look)
	return w
}

// For is the same window for another test or subtest.
func (w *Window) For(t testing.TB) *Window { return &Window{t: t, ctx: w.ctx, script: w.script} }

// LookAs makes the window look otherwise from now on.
func (w *Window) LookAs(l Look) {
	w.t.Helper()
	scheme := "light"
	if l.Dark {
		scheme = "dark"
	}
	width, height := l.Width, l.Height
	if width == 0 {
		width, height = 1280, 800
	}
	w.do("change how the window looks", chromedp.Steps(
		chromedp.EmulateViewport(width, height),
		call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}, // what moves takes no clicks
		}}),
	))
	w.script = !l.NoScript
	w.scripts(w.script)
}

func (w *Window) scripts(run bool) {
	w.t.Helper()
	w.do("switch scripts", call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !run}))
}

func call[P, R any](cmd cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, cmd, params)
		return err
	})
}

// ask fails the test where the window does not answer in time, and says what it shows.
func ask[T any](w *Window, what string, a chromedp.Action[T]) T {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		w.t.Fatalf("%s: %v; the window shows %s", what, err, w.shows())
	}
	return v
}

func (w *Window) do(what string, a chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	ask(w, what, a)
}

func (w *Window) shows() string {
	ctx, cancel := context.WithTimeout(w.ctx, 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + '\n' + (document.body ? document.body.innerText : '')`))
	if err != nil {
		return err.Error()
	}
	return text
}

// Go goes to an address.
func (w *Window) Go(url string) {
	w.t.Helper()
	w.do("go to "+url, chromedp.Navigate(url))
}

// Fill types into the field that a CSS selector names, in place of what it holds.
func (w *Window) Fill(css, text string) {
	w.t.Helper()
	w.do("fill in "+css, chromedp.Steps(chromedp.Clear(chromedp.CSS(css)), chromedp.SendKeys(chromedp.CSS(css), text)))
}

// Click clicks on an element.
func (w *Window) Click(css string) {
	w.t.Helper()
	w.do("click on "+css, chromedp.Click(chromedp.CSS(css), chromedp.NodeVisible))
}

// Press sends keys to whatever has the focus: "\t" goes on to the next element.
func (w *Window) Press(keys string) {
	w.t.Helper()
	w.do("press keys", chromedp.KeyEvent(keys))
}

// Reads waits until an element says something that has text in it.
func (w *Window) Reads(css, text string) {
	w.t.Helper()
	until(w, fmt.Sprintf("wait for %s to say %q", css, text), `(() => { const e = document.querySelector(`+quote(css)+`); return e !== null && e.textContent.includes(`+quote(text)+`) })()`)
}

// Arrives waits until the window is at an address that begins so.
func (w *Window) Arrives(prefix string) {
	w.t.Helper()
	until(w, "wait for "+prefix, `location.href.startsWith(`+quote(prefix)+`) && document.readyState === 'complete'`)
}

// Back goes back to the page before, whatever that shows now.
func (w *Window) Back() {
	w.t.Helper()
	Eval[bool](w, `(document.documentElement.dataset.left = 'yes', history.back(), true)`)
	until(w, "wait for the page before", `document.documentElement.dataset.left === undefined && document.readyState === 'complete'`)
}

// Focused waits until an element has the focus.
func (w *Window) Focused(css string) {
	w.t.Helper()
	until(w, "wait for the focus on "+css, `document.activeElement !== null && document.activeElement.matches(`+quote(css)+`)`)
}

// Has reports whether the page has such an element.
func (w *Window) Has(css string) bool {
	w.t.Helper()
	return Eval[bool](w, `document.querySelector(`+quote(css)+`) !== null`)
}

// Eval is what an expression comes to in the page.
func Eval[T any](w *Window, expression string) T {
	w.t.Helper()
	return ask(w, "evaluate "+expression[:min(len(expression), 80)], chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// until asks again and again, from outside of the page, which may run no script.
func until(w *Window, what, condition string) {
	w.t.Helper()
	w.do(what, chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		again := time.NewTicker(20 * time.Millisecond)
		defer again.Stop()
		for {
			// While a page goes, there is nobody to ask.
			if ok, err := chromedp.Evaluate[bool](condition)(ctx, t); err == nil && ok {
				return nil
			}
			select {
			case <-again.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}))
}

// Screenshot takes a picture of the whole page.
func (w *Window) Screenshot(name string) {
	w.t.Helper()
	picture := ask(w, "take a picture", chromedp.FullScreenshot(100))
	dir := os.Getenv(EnvScreenshots)
	if dir == "" {
		dir = w.t.TempDir()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func quote(s string) string {
	b, _ := json.Marshal(s) // a string: cannot fail
	return string(b)
}

// listen collects what the browser complains about.
func (w *Window) listen() {
	w.t.Helper()
	messages := chromedp.Console(w.ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			w.mu.Lock()
			w.messages = append(w.messages, m.String())
			w.mu.Unlock()
		}
	}()
}

// Complaints are what the console shows that has text in it: "Content Security
// Policy".
func (w *Window) Complaints(text string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, m := range w.messages {
		if strings.Contains(m, text) {
			out = append(out, m)
		}
	}
	return out
}
