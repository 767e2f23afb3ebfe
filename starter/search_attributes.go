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

// searchAttributesPatience is longer than a server caches its namespaces.
const searchAttributesPatience = 30 * time.Second

// RegisterSearchAttributes registers WalletUserId and WalletCurrency (Keyword) in a namespace,
// unless they exist, and waits until the server accepts them. Without them a wallet runs but
// cannot be found by its user. Temporal does not report it if an attribute exists with another
// type, so this checks that too.
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
			return fmt.Errorf("search attribute %s of namespace %q has type %s, not Keyword: remove it with \"temporal operator search-attribute remove --name %s\" and try again", name, namespace, kind, name)
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

// awaitSearchAttributes waits until the server accepts the attributes. The server refreshes
// namespaces every few seconds; until then it refuses to start a wallet's workflow.
func awaitSearchAttributes(ctx context.Context, c client.Client, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, searchAttributesPatience)
	defer cancel()
	pauses := backoff.NewConstantBackOff(100 * time.Millisecond)
	_, err := backoff.Retry(ctx, func() (any, error) {
		err := trySearchAttributes(ctx, c, namespace)
		var unknown *serviceerror.InvalidArgument
		if err != nil && !errors.As(err, &unknown) && !isPassing(err) { // many workers at once exceed the server's rate limit
			return nil, backoff.Permanent(err)
		}
		return nil, err
	}, backoff.WithBackOff(pauses), backoff.WithMaxElapsedTime(0))
	if err != nil {
		return fmt.Errorf("search attributes of namespace %q are registered, but the server does not accept them: %w", namespace, err)
	}
	return nil
}

// trySearchAttributes queries for workflows with impossible values. The server answers with an
// InvalidArgument until it knows the attributes as Keywords.
func trySearchAttributes(ctx context.Context, c client.Client, namespace string) error {
	query := fmt.Sprintf("%s = '_' AND %s = '_'", wallet.SearchAttributeUserID, wallet.SearchAttributeCurrency)
	_, err := c.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Namespace: namespace, Query: query})
	return err
}

// takesSearchAttributes is the activity behind wallet.ActivityTakesSearchAttributes, for the
// Client's own namespace. It asks until the attributes exist: nobody removes them afterwards.
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
