package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/internal/service/telemetry"
	"github.com/valueledger/wallet/internal/service/webhooks"
)

func (a *app) webhookRunCommand() *cobra.Command {
	var guard guardFlag
	var address string
	o := webhooks.Options{}
	cmd := &cobra.Command{
		Use: "run", Short: "Send events until SIGTERM", Args: cobra.NoArgs,
		Long: `Send events to the endpoints until SIGTERM. Several processes share the work; if
one dies, others take over within a minute. The role of WALLET_DATABASE_URL
must be a member of wallet_webhooks: it moves no money. Temporal is not needed.
WALLET_PAYLOAD_KEYS has the keys of the secrets, if they are encrypted.

It answers on HTTP: /metrics, /healthz and /readyz.`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Timeout <= 0 || o.Timeout > webhooks.MaxTimeout {
				return cli.Usagef("--timeout %s: use up to %s", o.Timeout, webhooks.MaxTimeout)
			}
			if o.Concurrency < 1 || o.Concurrency > 1000 {
				return cli.Usagef("--concurrency %d: use 1 to 1000", o.Concurrency)
			}
			if o.Guard, err = guard.guard(); err != nil {
				return err
			}
			return a.sendWebhooks(cmd.Context(), o, address)
		},
	}
	guard.addTo(cmd)
	cmd.Flags().DurationVar(&o.Timeout, "timeout", 15*time.Second, "how long a receiver may take to answer")
	cmd.Flags().IntVar(&o.Concurrency, "concurrency", 8, "wallets at once per endpoint")
	cmd.Flags().StringVar(&address, "http-address", cli.EnvOr("WALLET_WEBHOOK_HTTP_ADDRESS", "127.0.0.1:9465"), "listen there for metrics and probes, \""+service.HTTPOff+"\" for not at all (WALLET_WEBHOOK_HTTP_ADDRESS)")
	return cmd
}

func (a *app) sendWebhooks(ctx context.Context, o webhooks.Options, address string) (err error) {
	if o.Keys, err = codec.FromEnv(); err != nil {
		return err
	}
	p, err := a.startProcess(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	o.Logger, o.DB = p.logger, p.pool
	if o.Observe, err = p.metrics.Webhooks(); err != nil {
		return err
	}
	if address != service.HTTPOff {
		server, err := telemetry.Serve(address, p.metrics.Handler(), o.Logger, []telemetry.Check{{Name: "postgres", Do: o.DB.Ping}})
		if err != nil {
			return err
		}
		defer server.Close()
		o.Logger.Info("sending webhooks", zap.String("http", server.URL()))
	}
	return webhooks.NewDeliverer(o).Run(ctx)
}
