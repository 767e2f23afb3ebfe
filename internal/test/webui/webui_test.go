package webui

import (
	"context"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/starter"
)

const list = "/namespaces/default/workflows"

// openWallet opens a wallet's details from the list, as a person does.
func (p *page) openWallet(userID, currency string) {
	p.t.Helper()
	p.open(list + "/" + url.PathEscape(wallet.WorkflowID(userID, currency)))
	p.click(testID("user-metadata-tab"))
}

// openForm opens a form from the actions menu, with its list of handlers.
func (p *page) openForm(kind string) {
	p.t.Helper()
	p.click(`//button[contains(., "More Actions")]`)
	p.click(testID(kind + "-button"))
	p.click(testID(kind+"-confirmation-modal") + testID(kind+"-select-button"))
}

// fillForm selects a handler by its description in the list, and enters the input.
func (p *page) fillForm(kind, description, input string) {
	p.t.Helper()
	form := testID(kind + "-confirmation-modal")
	p.click(fmt.Sprintf(`%s//*[@role="option"][contains(., %q)]`, form, description))
	p.fill(form+`//*[@role="textbox"]`, input)
	p.leave() // now, because the editor then formats the JSON, and the form grows
}

func (p *page) submit(kind string) {
	p.t.Helper()
	p.click(testID(kind+"-confirmation-modal") + testID("confirm-modal-button"))
}

func TestAPersonFindsAWalletAndUnderstandsIt(t *testing.T) {
	w := newWorld(t)
	w.send(t, "u1", "USD", wallet.TypeAdd, "salary-11", "2500")
	for _, hold := range []starter.Change{{CommandID: "order-9", Amount: wallet.MustAmount("80"), ExpiresIn: "24h"}, {CommandID: "deposit-3", Amount: wallet.MustAmount("200")}} {
		hold.UserID, hold.Currency = "u1", "USD"
		_, err := w.wallets.Hold(t.Context(), hold)
		require.NoError(t, err)
	}
	w.send(t, "u1", "USD", wallet.TypeSubtract, "rent-11", "900")
	w.send(t, "u1", "USD", wallet.TypeSubtract, "order-8", "5000")
	w.send(t, "u1", "USD", wallet.TypeAdd, "order-7", "12.50")
	w.send(t, "u1", "USD", wallet.TypeAdd, "order-7", "12.50")
	w.send(t, "u1", "EUR", wallet.TypeAdd, "gift-1", "20")
	w.send(t, "u2", "USD", wallet.TypeAdd, "gift-2", "10")

	p := openBrowser(t, w.stack.Temporal.UI())
	p.open(list)
	p.click(testID("add-filter-button"))
	p.click(`//*[@role="menuitem"][contains(., "WalletUserId")]`)
	p.fill(testID("dropdown-filter-chip-WalletUserId-0-text"), "u1")
	p.click(testID("apply-filter-button"))
	p.shows("wallet-asset/USD/u1", "wallet-asset/EUR/u1")
	p.await("see no wallet of others", `!document.body.innerText.includes("wallet-asset/USD/u2")`)
	p.picture("web-ui-find")

	p.click(`//a[normalize-space(.)="wallet-asset/USD/u1"]`)
	p.click(testID("user-metadata-tab"))
	p.shows("u1 · 1332.50 USD available", "total hold available version in queue 1612.50 280.00 1332.50 6 0",
		"2 open holds", "The next one expires at", "hold left captured placed (UTC) expires (UTC) order-9 80.00 0.00", "deposit-3 200.00 0.00",
		"Last commands command change outcome total after time (UTC) order-7 add 12.50 sent again, was applied", "order-8 subtract 5000.00 refused: insufficient_funds",
		"5 applied, 1 answered before, 1 refused (1 insufficient_funds)")
	p.shows("apply 1 command: subtract 900") // the step's summary
	p.picture("web-ui-wallet")
}

func TestAPersonSendsCommandsByTheForms(t *testing.T) {
	w := newWorld(t)
	w.send(t, "forms", "USD", wallet.TypeCreate, "open", "")
	p := openBrowser(t, w.stack.Temporal.UI())

	p.openWallet("forms", "USD")
	p.openForm("signal")
	p.shows("One command, without an answer")
	p.picture("web-ui-signal")
	p.fillForm("signal", "One command, without an answer", `{"id": "by-signal", "type": "add", "amount": "10.00"}`)
	p.submit("signal")
	w.eventually(t, "the signal's command", func() bool {
		_, err := w.wallets.Result(t.Context(), "forms", "USD", "by-signal")
		return err == nil
	})
	p.openWallet("forms", "USD")
	p.shows("forms · 10.00 USD available", "by-signal add 10.00 applied")

	p.openForm("update")
	p.shows("One command, answered with its Result", "1 to 500 commands")
	p.picture("web-ui-update")
	p.fillForm("update", "One command, answered with its Result", `{"id": "by-update", "type": "subtract", "amount": "4.00"}`)
	p.submit("update")
	w.eventually(t, "the update's command", func() bool {
		_, err := w.wallets.Result(t.Context(), "forms", "USD", "by-update")
		return err == nil
	})
	p.openWallet("forms", "USD")
	p.shows("forms · 6.00 USD available", "by-update subtract 4.00 applied")

	p.openForm("update")
	p.fillForm("update", "One command, answered with its Result", `{"id": "too-much", "type": "subtract", "amount": "7.00"}`)
	p.submit("update")
	p.shows("cannot subtract 7.00 USD: 6.00 available") // the form answers
	p.picture("web-ui-refused")
}

// TestAWalletInTroubleLooksIt stops Postgres.
func TestAWalletInTroubleLooksIt(t *testing.T) {
	w := newWorld(t)
	w.send(t, "u7", "USD", wallet.TypeAdd, "salary-11", "2500")
	require.NoError(t, w.stack.Postgres.Stop())
	up := false
	t.Cleanup(func() {
		if !up {
			require.NoError(t, w.stack.Postgres.Start(context.Background()))
		}
	})
	for i := range 3 {
		require.NoError(t, w.wallets.Send(t.Context(), "u7", "USD", wallet.Command{ID: fmt.Sprint("order-", i), Type: wallet.TypeSubtract, Amount: wallet.MustAmount("10")}))
	}
	w.eventually(t, "a pending activity with its failure", func() bool {
		d, err := w.temporal.DescribeWorkflowExecution(t.Context(), wallet.WorkflowID("u7", "USD"), "")
		require.NoError(t, err)
		return len(d.PendingActivities) > 0 && d.PendingActivities[0].LastFailure != nil
	})
	p := openBrowser(t, w.stack.Temporal.UI())
	p.openWallet("u7", "USD")
	p.shows("In trouble since", "fails and is tried again until it works. Nothing is lost, 3 commands wait.", "u7 · 2500.00 USD available")
	p.picture("web-ui-trouble")
	p.click(testID("pending-activities-tab"))
	p.shows("ApplyCommands", "Last Failure", "connect")
	p.picture("web-ui-pending")

	require.NoError(t, w.stack.Postgres.Start(t.Context()))
	up = true
	w.eventually(t, "the last command", func() bool {
		_, err := w.wallets.Result(t.Context(), "u7", "USD", "order-2")
		return err == nil
	})
	p.openWallet("u7", "USD")
	p.shows("u7 · 2470.00 USD available")
	require.NotContains(t, p.text(), "In trouble")
}

func TestHostileIdsStayText(t *testing.T) {
	const user, id = "<img src=x onerror=alert(1)>|**b**`c`", "<h1>[x](https://example.com)|</h1>"
	w := newWorld(t)
	w.send(t, user, "USD", wallet.TypeAdd, id, "1")
	p := openBrowser(t, w.stack.Temporal.UI())
	p.openWallet(user, "USD")
	p.shows(user+" · 1.00 USD available", user+" · USD", id+" add 1.00 applied")
	require.Zero(t, evaluate[int](p, `[...document.querySelectorAll('iframe')].map(f => f.contentDocument.querySelectorAll('img, h1, a, script, td em, code').length).reduce((a, b) => a + b)`))
}

// eventually waits for a condition, however long it takes.
func (w *world) eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(50 * time.Millisecond) {
		require.False(t, time.Now().After(deadline), "never came: %s", what)
	}
}
