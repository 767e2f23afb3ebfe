package wallet

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestTheHashOfAnEntryIsForever pins the encoding: journals and receipts that
// exist hold hashes of it.
func TestTheHashOfAnEntryIsForever(t *testing.T) {
	entry := NewEntry(
		Asset{UserID: "zoë", Currency: "USD", Scale: 2, Hash: Hash{1, 2, 3}},
		Command{ID: "order-7", Type: TypeAdd, Amount: MustAmount("12.5"), Description: "a refund", Actor: "ops", Metadata: map[string]string{"b": "2", "a": "1", "ab": ""}},
		Result{Status: StatusApplied, Amount: MustAmount("12.50"), TotalBefore: MustAmount("0.05"),
			TotalAfter: MustAmount("12345678901234567890123456789.55"), HoldBefore: MustAmount("0.00"), HoldAfter: MustAmount("3"), Version: 3, Position: 4},
		time.UnixMicro(1_700_000_000_123_456))
	require.Equal(t, "12617bfce4b7cb322aee8e47f532bf1f3bc1119470af51021be32b69ea4c9662", entry.RequestHash.String())
	require.Equal(t, "2a7ed629f4dce5b610352527e8c99bf1239c20b46882692defb2f37df89fe2d4", entry.Hash.String())
	refusal := NewEntry(Asset{UserID: "u1", Currency: "USD"}, Command{ID: "x"}, Result{Status: StatusUnapplied, Reason: ReasonMalformed, Message: "no", Position: 1}, time.UnixMicro(0))
	require.Equal(t, "526e655eb5e749fe67b253d0a42cfb390e686fc9a5ef226446e48849cec92107", refusal.Hash.String())
}
