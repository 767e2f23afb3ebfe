// Package webui tests what a person sees of a wallet in Temporal's Web UI and in the console, in a
// browser: "make test-ui" runs it, and "make screenshots" takes the pictures for the documentation.
package webui

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.uber.org/zap"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/migrations"
	"github.com/valueledger/wallet/starter"
)

// envChromium names the browser. Without it the tests are skipped.
const envChromium = "WALLET_TEST_CHROMIUM"

var pictures = flag.String("pictures", "", "folder to write the pictures of the documentation to")

const appPassword = "app"

// world is the package's own stack, because a test stops its Postgres.
type world struct {
	stack    *devstack.Stack
	temporal client.Client
	wallets  *starter.Client
}

var shared *world

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv(envChromium) == "" {
		os.Exit(m.Run())
	}
	code, err := withWorld(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withWorld(do func() int) (code int, err error) {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "wallet-webui-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil { // initdb's user must be able to enter it
		return 0, err
	}
	stack, err := devstack.Start(ctx, devstack.Options{Dir: dir, PostgresSettings: []string{"fsync=off"}})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, stack.Stop()) }()
	if err := stack.Postgres.CreateDatabase(ctx, "wallet"); err != nil {
		return 0, err
	}
	owner := stack.Postgres.URL("wallet")
	if _, err := migrations.Up(ctx, owner); err != nil {
		return 0, err
	}
	if err := migrations.AllowLogin(ctx, owner, migrations.RoleApp, appPassword); err != nil {
		return 0, err
	}
	pool, err := service.OpenPool(ctx, service.Database{URL: stack.Postgres.URLOf(migrations.RoleApp, appPassword, "wallet"), Setting: "the test"})
	if err != nil {
		return 0, err
	}
	defer pool.Close()
	logger := zap.NewNop()
	temporal, err := client.Dial(client.Options{HostPort: stack.Temporal.Address(), Logger: service.SDKLogger(logger)})
	if err != nil {
		return 0, err
	}
	defer temporal.Close()
	s, err := service.Start(ctx, service.Options{Temporal: temporal, Namespace: client.DefaultNamespace, Pool: pool, TaskQueue: wallet.DefaultTaskQueue, Logger: logger})
	if err != nil {
		return 0, err
	}
	defer s.Stop()
	wallets, err := starter.New(temporal, starter.Options{})
	if err != nil {
		return 0, err
	}
	shared = &world{stack, temporal, wallets}
	return do(), nil
}

func newWorld(t *testing.T) *world {
	if shared == nil {
		t.Skip(`"make test-ui" does this, in a browser`)
	}
	return shared
}

// send sends a command whose refusal does not fail the test.
func (w *world) send(t *testing.T, user, currency string, kind wallet.CommandType, id, amount string) {
	t.Helper()
	command := wallet.Command{ID: id, Type: kind}
	if amount != "" {
		command.Amount = wallet.MustAmount(amount)
	}
	_, err := w.wallets.Apply(t.Context(), user, currency, command)
	var unapplied *wallet.UnappliedError
	if !errors.As(err, &unapplied) {
		require.NoError(t, err)
	}
}
