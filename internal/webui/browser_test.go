package webui

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

// patience bounds how long a condition is waited for. It is no measure of anything: a
// page that is slow passes.
const patience = 2 * time.Minute

// page is a tab of a browser at Temporal's Web UI. Its methods wait until what they need
// is there and visible, and fail the test if that never comes.
type page struct {
	t   *testing.T
	ctx context.Context
	ui  string // address
}

// openBrowser starts a headless Chromium, gone with the test.
func openBrowser(t *testing.T, ui string) *page {
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(os.Getenv(envChromium)),
		chromedp.WindowSize(1280, 900),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("lang", "en-US"),
		chromedp.Flag("hide-scrollbars", true),
		chromedp.NoSandbox, // of no use to root; only this machine's own pages are opened
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(ctx), "start %s", os.Getenv(envChromium))
	return &page{t, ctx, ui}
}

func (p *page) run(what string, steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.keep("failed")
		require.NoError(p.t, err, what)
	}
}

// keep leaves a picture of a failure in the folder for temporary files.
func (p *page) keep(name string) {
	if picture, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot()); err == nil {
		path := filepath.Join(os.TempDir(), fmt.Sprintf("wallet-webui-%s-%s.png", filepath.Base(p.t.Name()), name))
		if os.WriteFile(path, picture, 0o644) == nil {
			p.t.Log("what the browser showed is in", path)
		}
	}
}

func (p *page) open(path string) {
	p.t.Helper()
	p.run("open "+path, chromedp.Navigate(p.ui+path))
}

// click, fill: selector is a chromedp.Search, XPath in most cases.
func (p *page) click(selector chromedp.Search) {
	p.t.Helper()
	p.run("click "+string(selector), chromedp.WaitEnabled(selector), chromedp.Click(selector, chromedp.NodeVisible))
}

func (p *page) fill(selector chromedp.Search, text string) {
	p.t.Helper()
	p.click(selector)
	p.run("fill "+string(selector), chromedp.KeyEvent("a", chromedp.KeyModifiers(kb.ModifierCtrl)), chromedp.SendKeys(selector, text))
}

// await waits until a JavaScript expression is true.
func (p *page) await(what, expression string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(0), chromedp.WithPollingInterval(100*time.Millisecond))); err != nil {
		p.keep("failed")
		require.NoError(p.t, err, "%s; the page says: %s", what, p.text())
	}
}

// shows waits until the page, or the frame of the details, has all the texts.
func (p *page) shows(texts ...string) {
	p.t.Helper()
	for _, text := range texts {
		p.await("see "+text, fmt.Sprintf(`(%s).includes(%q)`, everything, text))
	}
}

// everything is the text of the page and of its frames, with spaces made one.
const everything = `[document, ...[...document.querySelectorAll('iframe')].map(f => f.contentDocument)].map(d => d && d.body ? d.body.innerText : '').join(' ').replace(/\s+/g, ' ')`

func (p *page) text() string {
	text, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](everything))
	require.NoError(p.t, err)
	return text
}

func testID(id string) chromedp.Search {
	return chromedp.Search(fmt.Sprintf(`//*[@data-testid=%q]`, id))
}
