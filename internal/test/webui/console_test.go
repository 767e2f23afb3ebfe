package webui

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/console"
	"github.com/valueledger/wallet/internal/service/httpserver"
	"github.com/valueledger/wallet/internal/service/rows"
	"github.com/valueledger/wallet/migrations"
	"github.com/valueledger/wallet/starter"
)

// serveConsole runs the HTTP API with the console, and returns its address and a token.
func (w *world) serveConsole(t *testing.T) (address, token string) {
	pool, err := service.OpenPool(t.Context(), service.Database{URL: w.stack.Postgres.URLOf(migrations.RoleApp, appPassword, "wallet"), Setting: "the test"})
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	token, hash := access.NewToken()
	file := filepath.Join(t.TempDir(), "tokens.json")
	content, err := json.Marshal(map[string]any{"tokens": []access.StaticToken{
		{Subject: "maria", SHA256: hash, Scopes: []access.Scope{access.Read, access.Write}, Users: []string{access.Everyone}},
	}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, content, 0o600))
	auth, err := access.New(t.Context(), access.Options{TokensFile: file})
	require.NoError(t, err)
	s, err := httpserver.New(httpserver.Options{Wallets: w.wallets, Pool: pool, Auth: auth, Logger: zap.NewNop()})
	require.NoError(t, err)
	c, err := console.New(t.Context(), console.Options{Auth: auth, Pool: pool, Read: s.Read(), Wallets: w.wallets, Logger: zap.NewNop(), AnswerTimeout: time.Minute, Widely: s.Widely})
	require.NoError(t, err)
	s.Mount(console.Path, c)
	listening := httptest.NewServer(s.Handler())
	t.Cleanup(listening.Close)
	return listening.URL, token
}

// writePast gives a user a month of salary, orders and holds.
func (w *world) writePast(t *testing.T, user string) {
	db, err := pgxpool.New(t.Context(), w.stack.Postgres.URL("wallet"))
	require.NoError(t, err)
	t.Cleanup(db.Close)
	ref := wallet.AssetRef{UserID: user, Currency: "USD"}
	account := wallet.Account{Asset: wallet.Asset{UserID: user, Currency: "USD", Scale: 2}}
	apply := func(at time.Time, c wallet.Command) {
		f, err := wallet.Fold(account, nil, []wallet.Received{{Command: c}}, at)
		require.NoError(t, err)
		sql, parameters, err := rows.InsertEntries(f.Entries)
		require.NoError(t, err)
		_, err = db.Exec(t.Context(), sql, parameters...)
		require.NoError(t, err)
		for _, h := range f.Holds {
			_, err = db.Exec(t.Context(), rows.UpsertHolds, rows.HoldParameters([]rows.Hold{{AssetRef: ref, Hold: h}})...)
			require.NoError(t, err)
		}
		account = f.Account
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	random := rand.New(rand.NewPCG(17, 4))
	for hour := 29 * 24; hour > 3; hour -= 5 + random.IntN(16) {
		at, n := now.Add(-time.Duration(hour)*time.Hour), hour
		amount := wallet.MustAmount(fmt.Sprintf("%d.%02d", 5+random.IntN(90), random.IntN(100)))
		c := wallet.Command{ID: fmt.Sprint("order-", 1000-n), Type: wallet.TypeSubtract, Amount: amount, Actor: "shop", Description: "groceries"}
		switch {
		case n > 28*24 || n%7 == 0:
			c = wallet.Command{ID: fmt.Sprint("top-up-", 1000-n), Type: wallet.TypeAdd, Amount: wallet.MustAmount("250.00"), Actor: "bank", Description: "card payment"}
		case n%5 == 0:
			c = wallet.Command{ID: fmt.Sprint("room-", 1000-n), Type: wallet.TypeHold, Amount: wallet.MustAmount("120.00"), Actor: "hotel", Description: "deposit"}
		}
		apply(at, c)
		if c.Type == wallet.TypeHold && n%2 == 0 {
			apply(at.Add(2*time.Hour), wallet.Command{ID: c.ID + "-back", Type: wallet.TypeRelease, HoldID: c.ID, Actor: "hotel"})
		}
	}
	apply(now.Add(-2*time.Hour), wallet.Command{ID: "order-1001", Type: wallet.TypeSubtract, Amount: wallet.MustAmount("5000.00"), Actor: "shop", Description: "a car"})
	apply(now.Add(-time.Hour), wallet.Command{ID: "order-1002", Type: wallet.TypeSubtract, Amount: wallet.MustAmount("19.90"), Actor: "shop", Description: "a book", Metadata: map[string]string{"invoice": "2026-11/42"}})
	steps := activities.New(db)
	_, err = steps.EnsureWalletAsset(t.Context(), ref)
	require.NoError(t, err)
	_, err = steps.RecordEvents(t.Context(), ref)
	require.NoError(t, err)
}

// writeOperations has something on the pages of the feed and the runs.
func (w *world) writeOperations(t *testing.T) {
	db, err := pgxpool.New(t.Context(), w.stack.Postgres.URL("wallet"))
	require.NoError(t, err)
	defer db.Close()
	for _, sql := range []string{
		`INSERT INTO wallet_runs (run_id, file, lines, skipped, state) VALUES ('march-credits', 'march.csv', 2000, 5, 'running'), ('february-credits', 'february.csv', 2, 2, 'done') ON CONFLICT DO NOTHING`,
		`INSERT INTO wallet_run_parts (run_id, part, lines, applied) VALUES ('march-credits', 0, 1995, 735) ON CONFLICT DO NOTHING`,
		`INSERT INTO wallet_run_failures (run_id, part, line, status, user_id, currency, type, amount, command_id, reason, message)
			SELECT 'march-credits', 0, line * 31, 'invalid', 'u' || line, 'USD', 'add', '1,50', 'credit-' || line, 'malformed', 'amount "1,50" is not a plain decimal' FROM generate_series(1, 5) AS line ON CONFLICT DO NOTHING`,
		`INSERT INTO wallet_feed_consumers (name, role, after_id, after_version) VALUES ('statements', 'wallet_consumer', 0, 0), ('search', 'wallet_consumer', 1, 1) ON CONFLICT DO NOTHING`,
		`INSERT INTO wallet_feed_parked (consumer, user_id, currency, from_id, from_version, failures, parked, last_error, retry_at)
			VALUES ('search', 'u-4711', 'USD', 1, 1, 5, true, 'index is read-only', now()) ON CONFLICT DO NOTHING`,
		`INSERT INTO wallet_webhook_endpoints (endpoint_id, url, description, users, currencies, events, after_id, after_version, created_by, state, last_error, last_error_at)
			VALUES ('we_' || repeat('a', 26), 'https://shop.example.com/wallet', 'the shop', '{}', '{}', '{}', 0, 0, 'maria', 'active', '', NULL),
				('we_' || repeat('b', 26), 'https://old.example.com/hook', '', '{}', '{}', '{}', 0, 0, 'maria', 'parked', '410 Gone', now()) ON CONFLICT DO NOTHING`,
	} {
		_, err := db.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
}

// eventually waits for an expression, without the page's own timers: they may be off.
func (p *page) eventually(what, expression string) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		value, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool]("document.readyState === 'complete' && !!("+expression+")"))
		if err == nil && value {
			return
		}
		if time.Now().After(deadline) {
			p.keep("failed")
			require.Failf(p.t, "never came", "%s (%v); the page says: %s", what, err, p.text())
		}
	}
}

func (p *page) says(texts ...string) {
	p.t.Helper()
	for _, text := range texts {
		p.eventually("see "+text, fmt.Sprintf(`(%s).includes(%q)`, everything, text))
	}
}

// focus gives what an XPath finds the focus, as a keyboard would.
func (p *page) focus(xpath string) {
	p.t.Helper()
	p.eventually("focus "+xpath, fmt.Sprintf(`(e => e && (e.focus(), document.activeElement === e))(document.evaluate(%q, document, null, XPathResult.FIRST_ORDERED_NODE_TYPE, null).singleNodeValue)`, xpath))
}

// press presses Enter on what an XPath finds, and waits for the page that comes.
func (p *page) press(xpath string) {
	p.t.Helper()
	p.focus(xpath)
	require.True(p.t, evaluate[bool](p, `window.left = true`))
	p.run("press "+xpath, chromedp.KeyEvent(kb.Enter))
	p.eventually("another page after "+xpath, `!window.left`)
}

// enter writes into a field.
func (p *page) enter(xpath, text string) {
	p.t.Helper()
	p.focus(xpath)
	_, err := chromedp.Call(p.ctx, input.InsertText, input.InsertTextParams{Text: text})
	require.NoError(p.t, err, "enter %s", xpath)
}

func link(text string) string   { return fmt.Sprintf(`//a[normalize-space(.)=%q]`, text) }
func button(text string) string { return fmt.Sprintf(`//button[normalize-space(.)=%q]`, text) }

// javaScript turns the page's own scripts on or off.
func (p *page) javaScript(on bool) {
	_, err := chromedp.Call(p.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
	require.NoError(p.t, err)
}

// colours has the page believe that the reader prefers dark or light.
func (p *page) colours(scheme string) {
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	require.NoError(p.t, err)
}

// logIn opens the console and logs in.
func (p *page) logIn(token string) {
	p.t.Helper()
	p.open("/console/")
	p.says("Log in")
	p.enter(`//input[@name="token"]`, token)
	p.press(button("Log in"))
	p.says("User, command or transaction")
}

// TestAPersonUsesTheConsole does so with the keyboard alone, and without JavaScript.
func TestAPersonUsesTheConsole(t *testing.T) {
	w := newWorld(t)
	const user = "u-4712"
	w.writePast(t, user)
	address, token := w.serveConsole(t)
	p := openBrowser(t, address)
	p.javaScript(false)
	p.logIn(token)
	p.enter(`//input[@name="q"]`, user)
	p.press(button("Find"))
	p.press(link("User " + user))
	p.press(link("USD"))
	p.says("Available", "Balance over time", "Last commands", "order-1001")
	p.press(link("Refused"))
	p.says("insufficient funds", "cannot subtract 5000.00 USD")
	p.press(link("Overview"))
	p.press(link("order-1002"))
	p.says("2026-11/42", "Its hash is that of its content, and it is linked to the entries beside it.")
	p.press(button("Verify the whole wallet now"))
	p.says("Everything matches the journal.")

	p.press(link("USD"))
	p.press(link("Freeze …"))
	p.focus(`//input[@value="debits"]`)
	p.run("choose debits", chromedp.KeyEvent(" "))
	p.enter(`//textarea`, "a card was stolen")
	p.press(button("Review"))
	p.says("What will happen", "Freeze the debits of "+user+" in USD.", "By maria")
	p.press(button("Confirm: Freeze"))
	p.says("Done: this is on record now.", "freeze of debits", "a card was stolen", "maria")
	p.press(link("USD"))
	p.says("debits frozen")
	_, err := w.wallets.Subtract(t.Context(), starter.Change{UserID: user, Currency: "USD", CommandID: "late", Amount: wallet.MustAmount("1")})
	require.ErrorIs(t, err, wallet.ReasonFrozen)

	p.press(link("Statement"))
	p.says("Opening balance", "Closing balance")
	folder := t.TempDir()
	_, err = chromedp.CallBrowser(p.ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: folder})
	require.NoError(t, err)
	p.focus(link("CSV for a spreadsheet"))
	p.run("download", chromedp.KeyEvent(kb.Enter))
	w.eventually(t, "the file", func() bool {
		content, err := os.ReadFile(filepath.Join(folder, "statement-USD.csv"))
		return err == nil && strings.Contains(string(content), "\nclosing,"+user)
	})

	// A link on another site: the browser does not send the strict cookie with it.
	mail := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<a href="%s/console/user?user=%s">the wallet</a>`, address, user)
	}))
	defer mail.Close()
	p.run("open a mail", chromedp.Navigate(strings.Replace(mail.URL, "127.0.0.1", "localhost", 1)))
	p.press(link("the wallet"))
	p.says("Wallets", user)
	p.press(button("Log out"))
	p.says("Log in")
}

// axe reads axe-core, which npm installs at the version that is pinned.
func axe(t *testing.T) string {
	const path = "node_modules/axe-core/axe.min.js"
	content, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if out, err := exec.Command("npm", "ci", "--ignore-scripts").CombinedOutput(); err != nil {
			if os.Getenv("CI") == "" {
				t.Skipf("npm cannot install axe-core: %v\n%s", err, out)
			}
			require.NoError(t, err, "npm ci: %s", out)
		}
		content, err = os.ReadFile(path)
	}
	require.NoError(t, err)
	return string(content)
}

// finding is what axe has found.
type finding struct {
	ID, Impact, Help string
	Targets          []string
}

const runAxe = `axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.map(v => ({id: v.id, impact: v.impact, help: v.help, targets: v.nodes.map(n => n.target.join(' ') + ': ' + n.failureSummary)})))`

// TestEveryPageOfTheConsoleIsAccessible has axe look at each, in light and dark, wide and on a phone.
func TestEveryPageOfTheConsoleIsAccessible(t *testing.T) {
	w := newWorld(t)
	script := axe(t)
	const user = "u-4711"
	w.writePast(t, user)
	w.writeOperations(t)
	_, err := w.wallets.Transfer(t.Context(), starter.Transfer{ID: "lunch-1", FromUserID: user, ToUserID: "cafe", Currency: "USD", Amount: wallet.MustAmount("14.50"), Description: "lunch"})
	require.NoError(t, err)
	_, err = w.wallets.Freeze(t.Context(), starter.Change{UserID: "cafe", Currency: "USD", CommandID: "freeze-1", What: "credits", Description: "under review", Actor: "maria"})
	require.NoError(t, err)
	_, err = w.wallets.SetCreditLimit(t.Context(), starter.Change{UserID: "cafe", Currency: "USD", CommandID: "limit-1", Amount: wallet.MustAmount("50")})
	require.NoError(t, err)
	_, err = w.wallets.Subtract(t.Context(), starter.Change{UserID: "cafe", Currency: "USD", CommandID: "rent-1", Amount: wallet.MustAmount("40")})
	require.NoError(t, err)
	address, token := w.serveConsole(t)
	p := openBrowser(t, address)
	of := "user=" + user + "&currency=USD"
	hold := w.openHold(t, user)
	pages := []struct{ name, path, then string }{
		{"", "/console/login", ""},
		{"console-find", "/console/?q=lunch-1&everywhere=1", ""},
		{"console-user", "/console/user?user=" + user, ""},
		{"console-wallet", "/console/wallet?" + of, ""},
		{"", "/console/wallet?span=all&user=cafe&currency=USD", ""},
		{"console-statement", "/console/statement?" + of, ""},
		{"", "/console/journal?" + of, ""},
		{"console-refused", "/console/journal?status=unapplied&" + of, ""},
		{"console-holds", "/console/holds?" + of, ""},
		{"", "/console/grants?show=all&" + of, ""},
		{"console-entry", "/console/entry?id=order-1002&" + of, ""},
		{"", "/console/entry?id=order-1001&" + of, ""},
		{"", "/console/wallet?" + of, button("Verify this wallet now")},
		{"", "/console/transaction?id=lunch-1", ""},
		{"console-feed", "/console/feed", ""},
		{"", "/console/runs", ""},
		{"console-run", "/console/run?id=march-credits", ""},
		{"", "/console/change?type=freeze&" + of, ""},
		{"", "/console/change?type=release&hold=" + hold + "&" + of, ""},
		{"console-review", "/console/change?type=reverse&original=order-1002&reason=sent+back&" + of, button("Review")},
		{"", "/console/wallet?user=nobody&currency=USD", ""},
	}
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 390} {
			p.colours(scheme)
			p.run("resize", chromedp.EmulateViewport(width, 860))
			for i, look := range pages {
				if i == 1 && scheme == "light" && width == 1280 {
					p.logIn(token)
				}
				p.open(look.path)
				if look.then != "" {
					p.press(look.then)
				}
				p.eventually("the page", `document.querySelector('main h1')`)
				where := fmt.Sprintf("%s (%s, %d wide)", look.path, scheme, width)
				require.LessOrEqual(t, evaluate[float64](p, `document.documentElement.scrollWidth`), float64(width), "%s scrolls to the side", where)
				require.Empty(t, evaluate[string](p, `[...document.querySelectorAll('[id]')].map(e => e.id).filter((id, i, all) => all.indexOf(id) !== i).join(' ')`), where)
				_, err := chromedp.Run(p.ctx, chromedp.Evaluate[chromedp.Void](script+"; 0"))
				require.NoError(t, err)
				found, err := chromedp.Run(p.ctx, chromedp.Evaluate[[]finding](runAxe, chromedp.EvalAwaitPromise))
				require.NoError(t, err)
				for _, f := range found {
					if f.Impact == "serious" || f.Impact == "critical" {
						t.Errorf("%s: %s %s: %s\n%s", where, f.Impact, f.ID, f.Help, strings.Join(f.Targets, "\n"))
					} else {
						t.Logf("%s: %s %s: %s\n%s", where, f.Impact, f.ID, f.Help, strings.Join(f.Targets, "\n"))
					}
				}
				p.look(look.name, fmt.Sprintf("%02d-%s", i, look.path), scheme, width)
			}
		}
	}
}

// openHold is the id of a user's first open hold.
func (w *world) openHold(t *testing.T, user string) (id string) {
	db, err := pgxpool.New(t.Context(), w.stack.Postgres.URL("wallet"))
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.QueryRow(t.Context(), `SELECT min(hold_id) FROM wallet_holds WHERE user_id = $1 AND state = 'open'`, user).Scan(&id))
	return id
}

// envLook names a folder for pictures of every page, to look at.
const envLook = "WALLET_TEST_LOOK"

// look takes the pictures of the documentation in light and wide, and of one on a phone.
func (p *page) look(name, path, scheme string, width int64) {
	p.t.Helper()
	if folder := os.Getenv(envLook); folder != "" {
		shot, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
		require.NoError(p.t, err)
		file := strings.NewReplacer("/console/", "", "?", "-", "&", "-", "=", "-").Replace(path)
		require.NoError(p.t, os.WriteFile(filepath.Join(folder, fmt.Sprintf("%s-%s-%d.png", file, scheme, width)), shot, 0o644))
	}
	switch {
	case name != "" && scheme == "light" && width == 1280:
		p.picture(name)
	case name == "console-wallet" && scheme == "dark" && width == 390:
		p.picture(name + "-phone")
	}
}
