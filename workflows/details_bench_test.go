package workflows

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
)

type noSignals struct{ workflow.ReceiveChannel }

func (noSignals) Len() int { return 0 }

// BenchmarkDetails measures what the details cost each batch at most, when there is as much to
// show as there can be:
//
//	go test ./workflows -run - -bench Details -benchmem
func BenchmarkDetails(b *testing.B) {
	w := &walletAsset{ref: wallet.AssetRef{UserID: "customer-4711@example.com", Currency: "USD"}, signals: noSignals{}}
	w.carried.Asset = wallet.Asset{Total: wallet.MustAmount("1612.50"), Hold: wallet.MustAmount("0.00"), Version: 4711}
	w.carried.Counts = wallet.Counts{Applied: 4710, Replayed: 12, Unapplied: map[wallet.Reason]int64{}}
	for _, reason := range []wallet.Reason{wallet.ReasonInsufficientFunds, wallet.ReasonAlreadyExists, wallet.ReasonScaleExceeded, wallet.ReasonIDConflict, wallet.ReasonMalformed} {
		w.carried.Counts.Unapplied[reason] = 3
	}
	for i := range maxRecent {
		w.carried.remember([]wallet.Result{{
			CommandID: fmt.Sprintf("0190f3a1-7c5e-7b3a-9c1d-%012d", i), Type: wallet.TypeSubtract, Amount: wallet.MustAmount("5000.00"),
			Status: wallet.StatusUnapplied, Reason: wallet.ReasonInsufficientFunds, TotalAfter: wallet.MustAmount("1612.50"), RecordedAt: time.Unix(0, 0),
		}})
	}
	for name, trouble := range map[string]*trouble{
		"at peace":   nil,
		"in trouble": {since: time.Unix(0, 0), step: "apply 500 commands", cause: errors.New("connect to postgres: connection refused")},
	} {
		b.Run(name, func(b *testing.B) {
			w.trouble = trouble
			b.ReportAllocs()
			for b.Loop() {
				if w.details(time.Now()) == "" {
					b.Fatal("no details")
				}
			}
		})
	}
}
