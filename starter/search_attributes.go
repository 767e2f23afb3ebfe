package starter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/valueledger/wallet"
)

var (
	searchUserID   = temporal.NewSearchAttributeKeyKeyword(wallet.SearchAttributeUserID)
	searchCurrency = temporal.NewSearchAttributeKeyKeyword(wallet.SearchAttributeCurrency)
)

// searchAttributesPatience is longer than any namespace cache of a server lives.
const searchAttributesPatience = 30 * time.Second

// RegisterSearchAttributes makes WalletUserId and WalletCurrency (Keyword) known
// to a namespace, unless they are, and waits until it takes them. Without them
// a wallet runs, but is not found by its user. Temporal takes no notice when an
// attribute exists with another type, so that is checked here.
func RegisterSearchAttributes(ctx context.Context, c client.Client, namespace string) error {
	existing, err := c.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
	if err != nil {
		return fmt.Errorf("list search attributes of namespace %q: %w", namespace, err)
	}
	missing := map[string]enumspb.IndexedValueType{}
	for _, name := range []string{wallet.SearchAttributeUserID, wallet.SearchAttributeCurrency} {
		switch kind, exists := existing.GetCustomAttributes()[name]; {
		case !exists:
			missing[name] = enumspb.INDEXED_VALUE_TYPE_KEYWORD
		case kind != enumspb.INDEXED_VALUE_TYPE_KEYWORD:
			return fmt.Errorf("search attribute %s of namespace %q is of type %s, not Keyword: remove it with \"temporal operator search-attribute remove --name %s\" and try again", name, namespace, kind, name)
		}
	}
	if len(missing) == 0 {
		return awaitSearchAttributes(ctx, c, namespace)
	}
	_, err = c.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{Namespace: namespace, SearchAttributes: missing})
	if err != nil {
		return fmt.Errorf("register search attributes in namespace %q (or run \"temporal operator search-attribute create --name %s --type Keyword --name %s --type Keyword\"): %w",
			namespace, wallet.SearchAttributeUserID, wallet.SearchAttributeCurrency, err)
	}
	return awaitSearchAttributes(ctx, c, namespace)
}

// awaitSearchAttributes waits until the server takes the attributes. It reads
// namespaces anew every few seconds, and refuses to start a wallet's workflow
// before that.
func awaitSearchAttributes(ctx context.Context, c client.Client, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, searchAttributesPatience)
	defer cancel()
	pauses := backoff.NewConstantBackOff(100 * time.Millisecond)
	_, err := backoff.Retry(ctx, func() (any, error) {
		err := trySearchAttributes(ctx, c, namespace)
		var unknown *serviceerror.InvalidArgument
		if err != nil && !errors.As(err, &unknown) && !isPassing(err) { // many workers at once exceed the server's rate
			return nil, backoff.Permanent(err)
		}
		return nil, err
	}, backoff.WithBackOff(pauses), backoff.WithMaxElapsedTime(0))
	if err != nil {
		return fmt.Errorf("search attributes of namespace %q are registered, but the server does not take them: %w", namespace, err)
	}
	return nil
}

// trySearchAttributes asks for workflows with impossible values. The server refuses that,
// with an InvalidArgument, as long as it does not know the attributes as Keywords.
func trySearchAttributes(ctx context.Context, c client.Client, namespace string) error {
	query := fmt.Sprintf("%s = '_' AND %s = '_'", wallet.SearchAttributeUserID, wallet.SearchAttributeCurrency)
	_, err := c.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Namespace: namespace, Query: query})
	return err
}

// takesSearchAttributes is the activity behind wallet.ActivityTakesSearchAttributes, for
// the Client's own namespace. Once they are there nobody takes them away.
func (c *Client) takesSearchAttributes(ctx context.Context) (bool, error) {
	if c.searchable.Load() {
		return true, nil
	}
	err := trySearchAttributes(ctx, c.temporal, "")
	var unknown *serviceerror.InvalidArgument
	if errors.As(err, &unknown) {
		return false, nil
	}
	if err == nil {
		c.searchable.Store(true)
	}
	return err == nil, err
}
