package wallet

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDependenciesPointInward checks the layers: the rules import neither Temporal nor SQL, and
// neither the workflows nor the starter import SQL. The deployed program links nothing that
// only measures Wallet, breaks it or runs its servers. (It does link procfs: Prometheus's own
// client uses it to read the process's memory and CPU.)
func TestDependenciesPointInward(t *testing.T) {
	for folder, forbidden := range map[string][]string{
		".":             {"go.temporal.io/", "github.com/jackc/", "database/sql"},
		"./workflows":   {"github.com/jackc/", "database/sql", "github.com/valueledger/wallet/activities"},
		"./walletnexus": {"go.temporal.io/", "github.com/jackc/", "database/sql", "github.com/valueledger/wallet/internal", "github.com/valueledger/wallet/starter"},
		"./starter":     {"github.com/jackc/", "database/sql", "github.com/valueledger/wallet/activities", "github.com/valueledger/wallet/workflows"},
		"./cmd/wallet": {
			"github.com/valueledger/wallet/internal/dev", "github.com/valueledger/wallet/internal/test",
			"github.com/Shopify/toxiproxy", "github.com/fergusstrange/embedded-postgres", "github.com/go-analyze/",
			"github.com/anishathalye/porcupine", "github.com/HdrHistogram/", "github.com/zitadel/",
		},
	} {
		out, err := exec.Command("go", "list", "-deps", folder).Output()
		require.NoError(t, err)
		for _, dependency := range strings.Fields(string(out)) {
			for _, name := range forbidden {
				// shopspring/decimal implements database/sql/driver's interfaces.
				if strings.HasPrefix(dependency, name) && dependency != "database/sql/driver" {
					t.Errorf("%s depends on %s", folder, dependency)
				}
			}
		}
	}
}
