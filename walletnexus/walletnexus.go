// Package walletnexus is the contract of the Nexus service "wallet", by which a
// workflow of any namespace moves value and gets a durable answer:
//
//	wallets := workflow.NewNexusClient(walletnexus.Endpoint, walletnexus.Service)
//	add := wallets.ExecuteOperation(ctx, walletnexus.Add, walletnexus.Change{
//		AssetRef: wallet.AssetRef{UserID: "u1", Currency: "USD"},
//		ID:       "order-7", Amount: wallet.MustAmount("12.50"),
//	}, workflow.NexusOperationOptions{})
//	var result wallet.Result
//	err := walletnexus.Decode(add.Get(ctx, &result))
//
// A refusal fails the operation for good, with the Result in it; bad input is a
// BAD_REQUEST; everything else is retried by Temporal, with the same command id,
// until the operation's own timeout. It imports nothing of the service.
package walletnexus

import (
	"github.com/nexus-rpc/sdk-go/nexus"

	"github.com/valueledger/wallet"
)

const (
	// Service is the name of the service. None of its names changes.
	Service = "wallet"
	// Endpoint is the name of the Nexus endpoint unless an operator chose another.
	Endpoint = "wallet"
)

// The operations. The answer of the first four is the Result of the command.
var (
	Create   = nexus.NewOperationReference[Change, wallet.Result]("create")
	Add      = nexus.NewOperationReference[Change, wallet.Result]("add")
	Subtract = nexus.NewOperationReference[Change, wallet.Result]("subtract")
	// Apply takes any command, but for its reply_to: that names a workflow of the
	// wallet's namespace, and the operation has an answer of its own.
	Apply = nexus.NewOperationReference[wallet.ApplyCommandInput, wallet.Result]("apply")
	// Balance fails with NOT_FOUND if the user owns nothing in the currency, not even zero.
	Balance = nexus.NewOperationReference[wallet.AssetRef, AssetBalance]("balance")
)

// Change is a command together with the wallet it is for. Its type is the name of
// the operation.
type Change struct {
	wallet.AssetRef
	// ID is the command's, unique within the user and currency: an order number, or
	// the caller's workflow id and a step. It is required: Temporal repeats an
	// operation that got no answer, a caller repeats one that timed out, and only the
	// same id makes both count once.
	ID          string            `json:"id"`
	Amount      wallet.Amount     `json:"amount,omitzero"` // not for create
	Description string            `json:"description,omitempty"`
	Actor       string            `json:"actor,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
}

// Command is the change as a command of a type.
func (c Change) Command(t wallet.CommandType) wallet.Command {
	return wallet.Command{ID: c.ID, Type: t, Amount: c.Amount, Description: c.Description, Actor: c.Actor, Metadata: c.Metadata}
}

// AssetBalance is what a user owns in one currency, as it is in Postgres.
type AssetBalance struct {
	wallet.AssetRef
	Total     wallet.Amount `json:"total"`
	Hold      wallet.Amount `json:"hold"`
	Available wallet.Amount `json:"available"`
	Version   int64         `json:"version"`
	Position  int64         `json:"position"`
	Hash      wallet.Hash   `json:"hash"` // of the last journal entry
}
