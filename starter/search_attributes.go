package starter

import (
	"context"
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/valueledger/wallet"
)

var (
	searchUserID   = temporal.NewSearchAttributeKeyKeyword(wallet.SearchAttributeUserID)
	searchCurrency = temporal.NewSearchAttributeKeyKeyword(wallet.SearchAttributeCurrency)
)

// RegisterSearchAttributes makes WalletUserId and WalletCurrency (Keyword) known
// to a namespace, unless they are. A Client cannot start a wallet's workflow
// without them. Temporal takes no notice when an attribute exists with another
// type, so that is checked here.
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
		return nil
	}
	_, err = c.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{Namespace: namespace, SearchAttributes: missing})
	if err != nil {
		return fmt.Errorf("register search attributes in namespace %q (or run \"temporal operator search-attribute create --name %s --type Keyword --name %s --type Keyword\"): %w",
			namespace, wallet.SearchAttributeUserID, wallet.SearchAttributeCurrency, err)
	}
	return nil
}
