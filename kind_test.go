package wallet

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestANewTypeIsARowOfTheTable invents a type: it must be validated, decided, journaled and
// answered like any other.
func TestANewTypeIsARowOfTheTable(t *testing.T) {
	before := kinds
	defer func() { kinds = before }()
	_, err := DecodeCommand([]byte(`{"id":"a","type":"double"}`))
	require.EqualError(t, err, `type "double" is unknown: send one of create, add, subtract, hold, capture, release, reverse, freeze, unfreeze, close, set_credit_limit, set_threshold, remove_threshold`)

	kinds = append(kinds[:len(kinds):len(kinds)], Kind{
		Type: "double", Event: "wallet_asset.doubled",
		apply: func(a Account, _ Command, _ time.Time) (Account, *Refusal) {
			if a.Total.IsZero() {
				return a, refuse("nothing_to_double", "there is nothing to double")
			}
			a.Total = a.Total.Add(a.Total)
			return a, nil
		},
	})
	double, err := DecodeCommand([]byte(`{"id":"a","type":"double"}`))
	require.NoError(t, err)
	_, err = DecodeCommand([]byte(`{"id":"a","type":"double","amount":"1"}`))
	require.EqualError(t, err, `double takes no amount, got "1": leave it out`)

	again := double
	again.ID = "b"
	asset, results := fold(t, dollars(), double, Command{ID: "5", Type: TypeAdd, Amount: MustAmount("5")}, again)
	require.Equal(t, Reason("nothing_to_double"), results[0].Reason)
	require.Equal(t, StatusApplied, results[2].Status)
	require.Equal(t, "10.00", asset.Total.String())
}

func TestTheTableOfKindsIsConsistent(t *testing.T) {
	fields := map[string]bool{}
	for _, f := range commandFields {
		fields[f.name] = true
	}
	types, events := map[CommandType]bool{}, map[string]bool{}
	for _, k := range kinds {
		require.False(t, types[k.Type] || events[k.Event], "%s is there twice", k.Type)
		types[k.Type], events[k.Event] = true, true
		require.True(t, strings.HasPrefix(k.Event, "wallet_asset."), k.Event)
		require.NotNil(t, k.apply)
		for _, name := range append(k.Required, k.Optional...) {
			require.True(t, fields[name], "%s takes %s, which is no field", k.Type, name)
		}
	}
}
