package workflows

import (
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
)

var (
	searchUserID   = temporal.NewSearchAttributeKeyKeyword(wallet.SearchAttributeUserID)
	searchCurrency = temporal.NewSearchAttributeKeyKeyword(wallet.SearchAttributeCurrency)
)

// versionLabel is the change id for wallets that set their own search attributes.
const versionLabel = "label"

// label sets the search attributes of a wallet that was started without them, by a client in
// another language for example, to make it searchable by user like any other. Wallets that
// package starter starts already have them, and this adds nothing to their history.
//
// A workflow task that sets an attribute which the namespace lacks, or has with another type,
// fails until the namespace is fixed. So the wallet asks first, and without an answer it
// continues without a label: the next run asks again.
func (w *walletAsset) label(ctx workflow.Context) error {
	if keyword(ctx, wallet.SearchAttributeUserID) == w.ref.UserID && keyword(ctx, wallet.SearchAttributeCurrency) == w.ref.Currency {
		return nil
	}
	if workflow.GetVersion(ctx, versionLabel, workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return nil
	}
	var taken bool
	once := workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		ScheduleToCloseTimeout: 2 * time.Second,
		RetryPolicy:            &temporal.RetryPolicy{MaximumAttempts: 1},
		Summary:                "look up the search attributes",
	})
	err := workflow.ExecuteLocalActivity(once, wallet.ActivityTakesSearchAttributes).Get(ctx, &taken)
	if err != nil || !taken {
		w.log.Warn("the wallet cannot be found by its search attributes: register them with \"wallet setup\"", "error", err)
		return nil
	}
	return workflow.UpsertTypedSearchAttributes(ctx, searchUserID.ValueSet(w.ref.UserID), searchCurrency.ValueSet(w.ref.Currency))
}

// keyword returns a search attribute of the run, or an empty string if it is not a single text.
// Some clients send a list with one text: Temporal accepts that, but the SDK's
// GetTypedSearchAttributes panics on it.
func keyword(ctx workflow.Context, name string) (text string) {
	//lint:ignore SA1019 a workflow must not panic over what its caller sent
	payload := workflow.GetInfo(ctx).SearchAttributes.GetIndexedFields()[name]
	kind, err := enumspb.IndexedValueTypeFromString(string(payload.GetMetadata()["type"]))
	if err != nil || kind != enumspb.INDEXED_VALUE_TYPE_KEYWORD || converter.GetDefaultDataConverter().FromPayload(payload, &text) != nil {
		return ""
	}
	return text
}
