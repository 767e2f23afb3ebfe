package statement

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/trail"
)

// TestAStatementByGrantHasALineForEach, whose amounts come to those of the event.
func TestAStatementByGrantHasALineForEach(t *testing.T) {
	part := func(grant int64, amount string) wallet.GrantPart {
		return wallet.GrantPart{Grant: grant, Amount: wallet.MustAmount(amount)}
	}
	names := Grants{ids: map[int64]string{2: "welcome", 3: "march"}}
	for _, x := range []struct {
		event trail.Event
		want  [][]string // total before and after, grant
	}{
		{trail.Event{TotalBefore: wallet.MustAmount("10.00"), TotalAfter: wallet.MustAmount("5.00"), Grants: wallet.GrantParts{part(2, "3.00"), part(3, "1.00")}},
			[][]string{{"10.00", "7.00", "welcome"}, {"7.00", "6.00", "march"}, {"6.00", "5.00", ""}}},
		{trail.Event{TotalBefore: wallet.MustAmount("5.00"), TotalAfter: wallet.MustAmount("6.50"), OriginalID: "a", Grants: wallet.GrantParts{part(3, "1.00")}},
			[][]string{{"5.00", "6.00", "march"}, {"6.00", "6.50", ""}}},
		{trail.Event{TotalBefore: wallet.MustAmount("5.00"), TotalAfter: wallet.MustAmount("7.00"), Amount: wallet.MustAmount("2.00"), Position: 9, CommandID: "new", Priority: 1},
			[][]string{{"5.00", "7.00", "new"}}},
		{trail.Event{TotalBefore: wallet.MustAmount("5.00"), TotalAfter: wallet.MustAmount("5.00"), Grants: wallet.GrantParts{part(3, "1.00")}}, // a hold
			[][]string{{"5.00", "5.00", ""}}},
	} {
		lines, err := names.Split(t.Context(), x.event)
		require.NoError(t, err)
		var have [][]string
		for _, l := range lines {
			have = append(have, []string{l.TotalBefore.String(), l.TotalAfter.String(), l.GrantID})
		}
		require.Equal(t, x.want, have)
	}
}
