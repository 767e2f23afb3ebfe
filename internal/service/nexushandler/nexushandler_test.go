package nexushandler

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/walletnexus"
)

// TestEveryTypeOfCommandIsAnOperation checks both the operations of the service and those in
// the contract.
func TestEveryTypeOfCommandIsAnOperation(t *testing.T) {
	var types []string
	for _, kind := range wallet.CallersKinds() {
		types = append(types, string(kind.Type))
	}
	changes := []string{
		walletnexus.Create.Name(), walletnexus.Add.Name(), walletnexus.Subtract.Name(),
		walletnexus.Hold.Name(), walletnexus.Capture.Name(), walletnexus.Release.Name(),
		walletnexus.Reverse.Name(), walletnexus.Freeze.Name(), walletnexus.Unfreeze.Name(), walletnexus.Close.Name(), walletnexus.SetCreditLimit.Name(), walletnexus.SetThreshold.Name(), walletnexus.RemoveThreshold.Name(),
	}
	require.ElementsMatch(t, types, changes)
	service := New(nil, nil)
	for _, name := range append(changes, walletnexus.Apply.Name(), walletnexus.Transaction.Name(), walletnexus.DryRun.Name(), walletnexus.DryRunTransaction.Name(), walletnexus.Balance.Name()) {
		require.NotNil(t, service.Operation(name), name)
	}
}
