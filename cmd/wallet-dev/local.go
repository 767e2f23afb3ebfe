package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"
	"go.uber.org/zap"

	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/nexushandler"
	"github.com/valueledger/wallet/internal/service/resourceid"
	"github.com/valueledger/wallet/internal/service/telemetry"
	"github.com/valueledger/wallet/migrations"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/walletnexus"
)

type localOptions struct {
	stack               devstack.Options
	httpAddress         string // of the worker, for metrics and probes
	apiPort             int    // 0 for a free one
	taskQueue           string
	logLevel, logFormat string
}

// local is a running installation of Wallet on this machine.
type local struct {
	options     localOptions
	program     string // wallet, which must be on the PATH of the user's shell too
	stack       *devstack.Stack
	databaseURL string // as the role of the service
	webhooksURL string // as the role that sends webhooks
	ownerURL    string // the same database, as the owner of the tables
	service     *service.Service
	wallets     *starter.Client
	say         func(format string, args ...any)
	services
}

const database = "wallet"

// withLocal starts everything, calls do, and stops everything.
func withLocal(cmd *cobra.Command, o localOptions, do func(*local) error) (err error) {
	ctx := cmd.Context()
	program, err := findWallet()
	if err != nil {
		return err
	}
	l := &local{program: program, options: o, say: func(format string, args ...any) { fmt.Fprintf(cmd.OutOrStdout(), format+"\n", args...) }}
	logger, err := service.NewLogger(o.logLevel, o.logFormat)
	if err != nil {
		return err
	}
	keys, err := codec.FromEnv()
	if err != nil {
		return err
	}
	l.say("starting Postgres and Temporal in %s ...", o.stack.Dir)
	o.stack.Log = l.say
	if l.stack, err = devstack.Start(ctx, o.stack); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, l.stack.Stop())
		l.say("stopped")
	}()
	if err := l.prepareDatabase(ctx); err != nil {
		return err
	}
	pool, err := service.OpenPool(ctx, service.Database{URL: l.databaseURL, Setting: "the database of " + cmd.CommandPath()})
	if err != nil {
		return err
	}
	defer pool.Close()
	metrics, err := telemetry.NewMetrics()
	if err != nil {
		return err
	}
	temporal, err := l.dialTemporal(ctx, logger, keys, metrics)
	if err != nil {
		return err
	}
	defer temporal.Close()
	l.service, err = service.Start(ctx, service.Options{
		Temporal: temporal, Namespace: client.DefaultNamespace, Pool: pool, TaskQueue: o.taskQueue, Logger: logger,
		Metrics: metrics, HTTPAddress: o.httpAddress,
	})
	if err != nil {
		return err
	}
	defer l.service.Stop()
	if err := nexushandler.RegisterEndpoint(ctx, temporal, walletnexus.Endpoint, client.DefaultNamespace, o.taskQueue); err != nil {
		return err
	}
	if l.wallets, err = starter.New(temporal, starter.Options{TaskQueue: o.taskQueue}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	if err := l.startServices(ctx); err != nil {
		return err
	}
	return do(l)
}

// prepareDatabase creates the tables, and sets passwords for the roles for as long as the servers
// run.
func (l *local) prepareDatabase(ctx context.Context) error {
	postgres := l.stack.Postgres
	if err := postgres.CreateDatabase(ctx, database); err != nil {
		return err
	}
	l.ownerURL = postgres.URL(database)
	if _, err := migrations.Up(ctx, l.ownerURL); err != nil {
		return err
	}
	for role, url := range map[string]*string{migrations.RoleApp: &l.databaseURL, migrations.RoleWebhooks: &l.webhooksURL} {
		password := rand.Text()
		*url = postgres.URLOf(role, password, database)
		if err := migrations.AllowLogin(ctx, l.ownerURL, role, password); err != nil {
			return err
		}
	}
	return nil
}

// dialTemporal connects like a worker, but to the stack's server, whatever the environment
// says.
func (l *local) dialTemporal(ctx context.Context, logger *zap.Logger, keys *codec.Keys, metrics *telemetry.Metrics) (client.Client, error) {
	connection := client.Options{HostPort: l.stack.Temporal.Address(), Logger: service.SDKLogger(logger)}
	service.WorkerConnection(&connection)
	keys.Secure(&connection)
	resourceid.EscapeHeader(&connection)
	if err := telemetry.TraceClient(&connection); err != nil {
		return nil, err
	}
	metrics.Client(&connection)
	return client.DialContext(ctx, connection)
}
