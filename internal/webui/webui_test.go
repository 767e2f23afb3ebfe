package webui

import (
	"testing"

	"github.com/valueledger/wallet"
)

func TestExplore(t *testing.T) {
	w := newWorld(t)
	w.send(t, "u1", "USD", wallet.TypeAdd, "salary-2026-11", "2500")
	w.send(t, "u1", "USD", wallet.TypeSubtract, "rent-2026-11", "900")
	w.send(t, "u1", "USD", wallet.TypeSubtract, "order-8", "5000")
	w.send(t, "u1", "USD", wallet.TypeAdd, "order-7", "12.50")
	w.send(t, "u1", "USD", wallet.TypeAdd, "order-7", "12.50")
	w.send(t, "u1", "EUR", wallet.TypeAdd, "gift-1", "20")
	w.send(t, "u2", "USD", wallet.TypeAdd, "gift-2", "10")
	p := openBrowser(t, w.stack.Temporal.UI())
	p.open("/namespaces/default/workflows")
	p.shows("wallet-asset/USD/u1")
	p.keep("list")
	p.open("/namespaces/default/workflows/wallet-asset%2FUSD%2Fu1")
	p.shows("wallet-asset/USD/u1")
	p.shows("available")
	p.keep("wallet")
	t.Log(p.text())
}
