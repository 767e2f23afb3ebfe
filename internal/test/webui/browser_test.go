package webui

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

// patience limits the wait for a condition. It measures nothing: a slow page passes.
const patience = 2 * time.Minute

// page is a browser tab with Temporal's Web UI. Its methods wait until what they need is there
// and visible, and fail the test if that never happens.
type page struct {
	t   *testing.T
	ctx context.Context
	ui  string // address
}

// openBrowser starts a headless Chromium that ends with the test.
func openBrowser(t *testing.T, ui string) *page {
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(os.Getenv(envChromium)),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("lang", "en-US"),
		chromedp.Flag("hide-scrollbars", true),
		chromedp.NoSandbox, // the sandbox does not work as root; only local pages are opened
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(ctx, chromedp.EmulateViewport(1440, 860)), "start %s", os.Getenv(envChromium))
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

// keep saves a screenshot of a failure in the folder for temporary files.
func (p *page) keep(name string) {
	if picture, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot()); err == nil {
		path := filepath.Join(os.TempDir(), fmt.Sprintf("wallet-webui-%s-%s.png", filepath.Base(p.t.Name()), name))
		if os.WriteFile(path, picture, 0o644) == nil {
			p.t.Log("what the browser showed is in", path)
		}
	}
}

// picture takes a screenshot for the documentation, if requested.
func (p *page) picture(name string) {
	p.t.Helper()
	if *pictures == "" {
		return
	}
	p.await("see the page at rest", atRest)
	shot, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	require.NoError(p.t, err)
	decoded, err := png.Decode(bytes.NewReader(shot))
	require.NoError(p.t, err)
	var small bytes.Buffer
	require.NoError(p.t, (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, inFewColours(decoded)))
	require.Less(p.t, small.Len(), 150<<10, "%s is too large for the documentation", name)
	require.NoError(p.t, os.WriteFile(filepath.Join(*pictures, name+".png"), small.Bytes(), 0o644))
}

// inFewColours reduces an image to its 256 most frequent colours.
func inFewColours(from image.Image) image.Image {
	count := map[color.Color]int{}
	for y := range from.Bounds().Dy() {
		for x := range from.Bounds().Dx() {
			count[from.At(x, y)]++
		}
	}
	palette := slices.SortedFunc(maps.Keys(count), func(a, b color.Color) int { return count[b] - count[a] })
	to := image.NewPaletted(from.Bounds(), palette[:min(len(palette), 256)])
	nearest := map[color.Color]uint8{}
	for c := range count {
		nearest[c] = uint8(to.Palette.Index(c))
	}
	for y := range from.Bounds().Dy() {
		for x := range from.Bounds().Dx() {
			to.SetColorIndex(x, y, nearest[from.At(x, y)])
		}
	}
	return to
}

// atRest is true when nothing moves except endless animations.
const atRest = `document.getAnimations().every(a => a.playState !== 'running' || a.effect.getComputedTiming().iterations === Infinity)`

func (p *page) open(path string) {
	p.t.Helper()
	p.run("open "+path, chromedp.Navigate(p.ui+path))
}

// click clicks the first element of an XPath that a person could click: visible, enabled, not
// covered and not moving.
func (p *page) click(xpath string) {
	p.t.Helper()
	p.await("click "+xpath, fmt.Sprintf(clickable, xpath))
	at := evaluate[[]float64](p, fmt.Sprintf(clickable, xpath))
	require.Len(p.t, at, 2, "%s went away", xpath)
	p.run("click "+xpath, chromedp.MouseClickXY(at[0], at[1]))
}

// clickable returns where to click an XPath, or null.
const clickable = `(() => {
	const found = document.evaluate(%q, document, null, XPathResult.ORDERED_NODE_SNAPSHOT_TYPE, null);
	for (let i = 0; i < found.snapshotLength; i++) {
		const e = found.snapshotItem(i);
		if (e.disabled || e.getClientRects().length === 0) continue;
		e.scrollIntoView({block: 'nearest'});
		const box = e.getBoundingClientRect(), x = box.x + box.width / 2, y = box.y + box.height / 2;
		const top = document.elementFromPoint(x, y);
		if (!top || !(e.contains(top) || top.contains(e))) continue;
		const last = e.lastSeen;
		e.lastSeen = [x, y];
		return last && last[0] === x && last[1] === y ? [x, y] : null;
	}
	return null;
})()`

// fill replaces a field's content.
func (p *page) fill(xpath, text string) {
	p.t.Helper()
	p.click(xpath)
	p.run("fill "+xpath, chromedp.KeyEvent("a", chromedp.KeyModifiers(kb.ModifierCtrl)))
	_, err := chromedp.Call(p.ctx, input.InsertText, input.InsertTextParams{Text: text})
	require.NoError(p.t, err, "fill %s", xpath)
}

// leave removes the focus from a field.
func (p *page) leave() {
	p.t.Helper()
	require.True(p.t, evaluate[bool](p, `(document.activeElement.blur(), true)`))
}

// await waits until a JavaScript expression is true.
func (p *page) await(what, expression string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool]("!!("+expression+")", chromedp.WithPollingTimeout(0), chromedp.WithPollingInterval(100*time.Millisecond))); err != nil {
		p.keep("failed")
		require.NoError(p.t, err, "%s; the page says: %s", what, p.text())
	}
}

// shows waits until the page, or the frame with the details, has all the texts.
func (p *page) shows(texts ...string) {
	p.t.Helper()
	for _, text := range texts {
		p.await("see "+text, fmt.Sprintf(`(%s).includes(%q)`, everything, text))
	}
}

// everything is the text of the page and its frames, with whitespace collapsed.
const everything = `[document, ...[...document.querySelectorAll('iframe')].map(f => f.contentDocument)].map(d => d && d.body ? d.body.innerText : '').join(' ').replace(/\s+/g, ' ')`

func (p *page) text() string {
	return evaluate[string](p, everything)
}

func evaluate[T any](p *page, expression string) T {
	p.t.Helper()
	value, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression))
	require.NoError(p.t, err, expression)
	return value
}

func testID(id string) string { return fmt.Sprintf(`//*[@data-testid=%q]`, id) }
