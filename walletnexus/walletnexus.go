// Package walletnexus is the contract of the Nexus service "wallet". A workflow in any
// namespace uses it to move value and get a durable answer:
//
//	wallets := workflow.NewNexusClient(walletnexus.Endpoint, walletnexus.Service)
//	add := wallets.ExecuteOperation(ctx, walletnexus.Add, walletnexus.Change{
//		AssetRef: wallet.AssetRef{UserID: "u1", Currency: "USD"},
//		ID:       "order-7", Amount: wallet.MustAmount("12.50"),
//	}, workflow.NexusOperationOptions{})
//	var result wallet.Result
//	err := walletnexus.Decode(add.Get(ctx, &result))
//
// A refusal fails the operation for good and contains the Result; bad input is a BAD_REQUEST;
// Temporal retries everything else with the same command id until the operation's own timeout.
// This package imports nothing of the service.
package walletnexus

import (
	"time"

	"github.com/nexus-rpc/sdk-go/nexus"

	"github.com/valueledger/wallet"
)

const (
	// Service is the name of the service. None of the names in this package may change.
	Service = "wallet"
	// Endpoint is the name of the Nexus endpoint, unless an operator chose another.
	Endpoint = "wallet"
)

// The operations: one for each type of command that callers may send, with the type's name.
// Their answer, and that of Apply, is the Result of the command.
var (
	Create   = nexus.NewOperationReference[Change, wallet.Result]("create")
	Add      = nexus.NewOperationReference[Change, wallet.Result]("add")
	Subtract = nexus.NewOperationReference[Change, wallet.Result]("subtract")
	// Hold reserves an amount, or raises or extends a hold; Capture and Release end it.
	Hold    = nexus.NewOperationReference[Change, wallet.Result]("hold")
	Capture = nexus.NewOperationReference[Change, wallet.Result]("capture")
	Release = nexus.NewOperationReference[Change, wallet.Result]("release")
	// Reverse undoes what an add, subtract or capture did to the total, or a part of it.
	Reverse = nexus.NewOperationReference[Change, wallet.Result]("reverse")
	// Freeze refuses debits, credits or all, until Unfreeze. Close refuses everything, until Create.
	Freeze   = nexus.NewOperationReference[Change, wallet.Result]("freeze")
	Unfreeze = nexus.NewOperationReference[Change, wallet.Result]("unfreeze")
	Close    = nexus.NewOperationReference[Change, wallet.Result]("close")
	// SetCreditLimit lets the total fall to minus the amount.
	SetCreditLimit = nexus.NewOperationReference[Change, wallet.Result]("set_credit_limit")
	// SetThreshold and RemoveThreshold change what Balance and events watch.
	SetThreshold    = nexus.NewOperationReference[Change, wallet.Result]("set_threshold")
	RemoveThreshold = nexus.NewOperationReference[Change, wallet.Result]("remove_threshold")
	// Apply takes any command but not its reply_to: that names a workflow in the wallet's own
	// namespace, and the operation has its own answer.
	Apply = nexus.NewOperationReference[wallet.ApplyCommandInput, wallet.Result]("apply")
	// Transaction applies commands for several wallets, all or none.
	Transaction = nexus.NewOperationReference[wallet.Transaction, wallet.TransactionResult]("transaction")
	// DryRun and DryRunTransaction say what Apply and Transaction would answer now, and change
	// nothing. What would be refused is an answer too: see its Status.
	DryRun            = nexus.NewOperationReference[wallet.ApplyCommandInput, wallet.DryRunResult]("dry_run")
	DryRunTransaction = nexus.NewOperationReference[wallet.Transaction, wallet.DryRunTransactionResult]("dry_run_transaction")
	// Balance fails with NOT_FOUND if the user owns nothing in the currency, not even zero.
	Balance = nexus.NewOperationReference[wallet.AssetRef, wallet.Balance]("balance")
)

// Change is a command and the wallet it is for. The operation's name is its type.
type Change struct {
	wallet.AssetRef
	// ID is the command's id, unique within the user and currency: an order number, or the
	// caller's workflow id and a step. It is required: Temporal repeats an operation that got
	// no answer, a caller repeats one that timed out, and only the same id makes both count
	// once.
	ID string `json:"id"`
	// For which operations take these, and what they mean, see wallet.Command.
	Amount          wallet.Amount     `json:"amount,omitzero"`
	HoldID          string            `json:"hold_id,omitempty"`
	ExpiresIn       string            `json:"expires_in,omitempty"`
	ExpiresAt       time.Time         `json:"expires_at,omitzero"`
	Partial         bool              `json:"partial,omitempty"`
	OriginalID      string            `json:"original_id,omitempty"`
	Priority        int64             `json:"priority,omitempty"`
	ReturnExpired   bool              `json:"return_expired,omitempty"`
	What            string            `json:"what,omitempty"`
	NotAfter        time.Time         `json:"not_after,omitzero"`
	ExpectedVersion *int64            `json:"expected_version,omitzero"`
	Description     string            `json:"description,omitempty"`
	Actor           string            `json:"actor,omitempty"`
	Metadata        map[string]string `json:"metadata,omitempty"`
	Threshold       string            `json:"threshold,omitempty"`
}

// Command returns the change as a command of a type.
func (c Change) Command(t wallet.CommandType) wallet.Command {
	return wallet.Command{
		ID: c.ID, Type: t, Amount: c.Amount, HoldID: c.HoldID, ExpiresIn: c.ExpiresIn, ExpiresAt: c.ExpiresAt, Partial: c.Partial,
		OriginalID: c.OriginalID, What: c.What, Priority: c.Priority, ReturnExpired: c.ReturnExpired, Threshold: c.Threshold,
		NotAfter: c.NotAfter, ExpectedVersion: c.ExpectedVersion,
		Description: c.Description, Actor: c.Actor, Metadata: c.Metadata,
	}
}
