package httpserver

import (
	"context"
	"errors"
	"net/http"
	"reflect"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/service/access"
)

// DryRunTransaction is a wallet.DryRunTransactionResult.
type DryRunTransaction struct {
	wallet.DryRunTransactionResult
	Results []DryRunLeg `json:"results,omitempty"`
}

// DryRunLeg is what a leg would get.
type DryRunLeg struct {
	wallet.AssetRef
	wallet.Result
}

// dryRunRoutes are paths of their own, with the scope read: a parameter that gets lost on the way
// would change something.
func (s *Server) dryRunRoutes() {
	dry := activities.NewDryRun(s.options.Pool)
	const summary = "What it would do now: nothing is recorded, and nothing is promised"
	ofWallet := prefix + "/wallets/{user}/{currency}"
	post := func(id, path string, body reflect.Type, name string) route {
		return route{id: id, method: http.MethodPost, path: path + "/dry-run", scope: access.Read, summary: summary,
			text: "Also 200 if it would be refused: see status.", body: s.jsonBody(body, name)}
	}
	register(s, post("dry-run-command", ofWallet+"/commands", reflect.TypeFor[Command](), "Command"), func(ctx context.Context, in *commandInput) (*bodyOf[wallet.DryRunResult], error) {
		command, err := in.decode(ctx)
		if err != nil {
			return nil, err
		}
		result, err := dry.Apply(ctx, in.User, in.Currency, command)
		if err != nil && !errors.As(err, new(*wallet.UnappliedError)) {
			return nil, err
		}
		return body(result), nil
	})
	register(s, post("dry-run-batch", ofWallet+"/batches", reflect.TypeFor[[]Command](), "Commands"), func(ctx context.Context, in *batchInput) (*bodyOf[[]wallet.DryRunResult], error) {
		commands, err := in.decode(ctx)
		if err != nil {
			return nil, err
		}
		results, err := dry.ApplyBatch(ctx, in.User, in.Currency, commands)
		if err != nil {
			return nil, err
		}
		return body(results), nil
	})
	transaction := func(ctx context.Context, t wallet.Transaction) (*bodyOf[DryRunTransaction], error) {
		result, err := dry.Transaction(ctx, t)
		if err != nil && !errors.As(err, new(*wallet.TransactionRefusedError)) {
			return nil, err
		}
		answer := DryRunTransaction{DryRunTransactionResult: result}
		for _, leg := range result.Results {
			answer.Results = append(answer.Results, DryRunLeg{leg.AssetRef, leg.Result})
		}
		return body(answer), nil
	}
	register(s, post("dry-run-transaction", prefix+"/transactions", reflect.TypeFor[Transaction](), "Transaction"), func(ctx context.Context, in *transactionInput) (*bodyOf[DryRunTransaction], error) {
		if err := stamp(ctx, in.actors()...); err != nil {
			return nil, err
		}
		return transaction(ctx, in.transaction)
	})
	register(s, post("dry-run-transfer", prefix+"/transfers", reflect.TypeFor[Transfer](), "Transfer"), func(ctx context.Context, in *transferInput) (*bodyOf[DryRunTransaction], error) {
		if err := stamp(ctx, &in.transfer.Actor); err != nil {
			return nil, err
		}
		return transaction(ctx, in.transfer.Transaction())
	})
}
