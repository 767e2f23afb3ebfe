// Package workflows is the WalletAsset workflow, which puts the commands of one user and
// currency in order; the short ApplyCommand workflow, which sends one command from places that
// can only start workflows; the short Transaction workflow; the Lane workflow, which applies
// commands of many wallets together; and the Run workflow, which applies the lines of a file.
package workflows

import (
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
)

// Register registers the workflows under the names of the contract.
func Register(r worker.WorkflowRegistry) {
	r.RegisterWorkflowWithOptions(WalletAsset, workflow.RegisterOptions{Name: wallet.WorkflowWalletAsset})
	r.RegisterWorkflowWithOptions(Transaction, workflow.RegisterOptions{Name: wallet.WorkflowTransaction})
	r.RegisterWorkflowWithOptions(ApplyCommand, workflow.RegisterOptions{Name: wallet.WorkflowApplyCommand})
	r.RegisterWorkflowWithOptions(Lane, workflow.RegisterOptions{Name: wallet.WorkflowLane})
	r.RegisterWorkflowWithOptions(Run, workflow.RegisterOptions{Name: wallet.WorkflowRun})
}
