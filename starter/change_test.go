package starter

import (
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/walletnexus"
)

// TestAChangeHasAllThatACommandSays compares Change and Command field by field, so that nobody
// forgets a new field of Command here.
func TestAChangeHasAllThatACommandSays(t *testing.T) {
	version := int64(3)
	want := wallet.Command{
		ID: "id", Type: wallet.TypeCapture, Amount: wallet.MustAmount("1"), HoldID: "hold", ExpiresIn: "15m", ExpiresAt: time.Unix(1, 0), Partial: true, OriginalID: "original", What: "all", Priority: 7, ReturnExpired: true, Threshold: "low",
		Description: "d", Actor: "a", Metadata: map[string]string{"k": "v"}, NotAfter: time.Unix(2, 0), ExpectedVersion: &version,
	}
	for v, i := reflect.ValueOf(want), 0; i < v.NumField(); i++ {
		if name := v.Type().Field(i).Name; name != "ReplyTo" && name != "LegRef" { // only for signals, and by the service
			require.False(t, v.Field(i).IsZero(), "%s is not compared here", name)
		}
	}
	change := Change{
		CommandID: "id", Amount: want.Amount, HoldID: "hold", ExpiresIn: "15m", ExpiresAt: want.ExpiresAt, Partial: true, OriginalID: "original", What: "all", Priority: 7, ReturnExpired: true, Threshold: "low",
		Description: "d", Actor: "a", Metadata: want.Metadata, NotAfter: want.NotAfter, ExpectedVersion: want.ExpectedVersion,
	}
	require.Equal(t, want, change.command(wallet.TypeCapture))
	operation := walletnexus.Change{
		ID: "id", Amount: want.Amount, HoldID: "hold", ExpiresIn: "15m", ExpiresAt: want.ExpiresAt, Partial: true, OriginalID: "original", What: "all", Priority: 7, ReturnExpired: true, Threshold: "low",
		Description: "d", Actor: "a", Metadata: want.Metadata, NotAfter: want.NotAfter, ExpectedVersion: want.ExpectedVersion,
	}
	require.Equal(t, want, operation.Command(wallet.TypeCapture))
}
