package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/internal/service/console"
	"github.com/valueledger/wallet/internal/service/httpserver"
	"github.com/valueledger/wallet/internal/service/postgres"
	"github.com/valueledger/wallet/internal/service/telemetry"
	"github.com/valueledger/wallet/internal/service/webhooks"
	"github.com/valueledger/wallet/starter"
)

type serveOptions struct {
	console         bool
	consoleURL      string
	oidc            console.OIDC
	listen, metrics string
	cert, key       string
	lanes           int
	rate            float64
	timeout         time.Duration
	tokens          string
	jwks, iss, aud  string
	skew            time.Duration
	webhooks        string
	networks        guardFlag
}

// The console's secrets: flags would show them to everybody on the machine.
const (
	envConsoleKey   = "WALLET_CONSOLE_KEY"
	envClientSecret = "WALLET_CONSOLE_CLIENT_SECRET"
)

func (a *app) serveCommand() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use: "serve", Short: "Answer the HTTP API until SIGTERM", Args: cobra.NoArgs,
		Long: `Answer the HTTP API until SIGTERM, beside workers. Its OpenAPI document is at
/openapi.json; docs/http.md has examples. /console has pages for people, who
log in with a token (docs/console.md). WALLET_CONSOLE_KEY, 32 bytes in base64,
lets several servers share their sessions; WALLET_CONSOLE_CLIENT_SECRET is that
of --console-client-id.

Without --tokens-file and --jwks nobody has to authenticate: it then listens on
this machine only. "wallet token" makes a token for the file. JWTs need the
issuer's keys, its name and an audience; they reach the wallets of their own
subject, unless the claim wallet_users names others or "*".

To change webhooks it needs a role that is a member of wallet_webhooks
(--webhook-database-url), and the keys of WALLET_PAYLOAD_KEYS if there are some.

Metrics and probes are at --http-address: /metrics, /healthz, /readyz.`,
		Example: "  wallet serve --tokens-file tokens.json\n  wallet serve --listen :8443 --tls-cert tls.crt --tls-key tls.key \\\n    --jwks https://login.example.com/keys --jwt-issuer https://login.example.com --jwt-audience wallet",
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.serve(cmd, o) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.listen, "listen", cli.EnvOr("WALLET_API_ADDRESS", "127.0.0.1:8088"), "address and port of the API (WALLET_API_ADDRESS)")
	flags.StringVar(&o.metrics, "http-address", cli.EnvOr("WALLET_HTTP_ADDRESS", "127.0.0.1:9466"), "listen there for metrics and probes, \""+service.HTTPOff+"\" for not at all (WALLET_HTTP_ADDRESS)")
	flags.StringVar(&o.cert, "tls-cert", os.Getenv("WALLET_API_TLS_CERT"), "certificate for TLS, PEM (WALLET_API_TLS_CERT)")
	flags.StringVar(&o.key, "tls-key", os.Getenv("WALLET_API_TLS_KEY"), "its key, PEM (WALLET_API_TLS_KEY)")
	flags.BoolVar(&o.console, "console", true, "pages for people at /console")
	flags.StringVar(&o.oidc.ClientID, "console-client-id", os.Getenv("WALLET_CONSOLE_CLIENT_ID"), "people log in at the issuer of JWTs as users of this client (WALLET_CONSOLE_CLIENT_ID)")
	flags.StringVar(&o.consoleURL, "console-url", os.Getenv("WALLET_CONSOLE_URL"), "how browsers reach this server: https://wallet.example.com (WALLET_CONSOLE_URL)")
	flags.StringSliceVar(&o.oidc.Scopes, "console-scopes", nil, "scopes to ask the issuer for, besides openid")
	flags.IntVar(&o.lanes, "lanes", 1, "lanes for concurrent requests for different wallets; 0 for none")
	flags.Float64Var(&o.rate, "rate", 0, "requests a second that a token may send; 0 for any number")
	flags.DurationVar(&o.timeout, "answer-timeout", httpserver.DefaultAnswerTimeout, "how long a request waits for its answer")
	flags.StringVar(&o.tokens, "tokens-file", os.Getenv("WALLET_TOKENS_FILE"), "file of static tokens (WALLET_TOKENS_FILE)")
	flags.StringVar(&o.jwks, "jwks", os.Getenv("WALLET_JWKS"), "keys of the issuer of JWTs: a URL or a file (WALLET_JWKS)")
	flags.StringVar(&o.iss, "jwt-issuer", os.Getenv("WALLET_JWT_ISSUER"), "the issuer of JWTs (WALLET_JWT_ISSUER)")
	flags.StringVar(&o.aud, "jwt-audience", os.Getenv("WALLET_JWT_AUDIENCE"), "the audience that JWTs must be for (WALLET_JWT_AUDIENCE)")
	flags.StringVar(&o.webhooks, "webhook-database-url", os.Getenv("WALLET_WEBHOOK_DATABASE_URL"), "Postgres as a member of wallet_webhooks, to change webhooks (WALLET_WEBHOOK_DATABASE_URL)")
	flags.Lookup("webhook-database-url").DefValue = "" // it may hold a password: not for the help text
	o.networks.addTo(cmd)
	flags.DurationVar(&o.skew, "jwt-skew", time.Minute, "how far the clocks of issuer and server may differ, at most 5m")
	return cmd
}

func (a *app) serve(cmd *cobra.Command, o serveOptions) error {
	ctx := cmd.Context()
	if o.timeout <= 0 {
		return cli.Usagef("--answer-timeout %s: use more than 0", o.timeout)
	}
	if o.rate < 0 {
		return cli.Usagef("--rate %v is negative: use 0 for any number", o.rate)
	}
	p, err := a.startProcess(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	auth, err := o.authenticator(ctx, p.logger)
	if err != nil {
		return err
	}
	certificates, err := o.certificates()
	if err != nil {
		return err
	}
	if err := p.metrics.ObservePool(p.pool); err != nil {
		return err
	}
	reads, err := a.followReads(ctx, p)
	if err != nil {
		return err
	}
	if err := p.dialTemporal(ctx); err != nil {
		return err
	}
	probe, err := service.NewProbe(p.pool, p.temporal)
	if err != nil {
		return err
	}
	defer probe.Close()
	wallets, err := starter.New(p.temporal, starter.Options{TaskQueue: a.taskQueue, Lanes: o.lanes})
	if err != nil {
		return err
	}
	store, closeStore, err := o.store(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	s, err := httpserver.New(httpserver.Options{
		Wallets: wallets, Pool: p.pool, Reads: reads, Auth: auth, Logger: p.logger, Checks: probe.Checks(), AnswerTimeout: o.timeout, Rate: o.rate,
		Wrap: p.metrics.HTTP, Webhooks: store,
	})
	if err != nil {
		return err
	}
	if o.console {
		if err := o.mountConsole(ctx, s, wallets, p, reads, auth); err != nil {
			return err
		}
	}
	listener, err := s.Listen(o.listen)
	if err != nil {
		return err
	}
	if ip := listener.Addr().(*net.TCPAddr).IP; certificates == nil && !ip.IsLoopback() {
		p.logger.Warn("tokens come unencrypted: set --tls-cert and --tls-key, unless a proxy with TLS is the only one to reach this address",
			zap.String("address", listener.Addr().String()))
	}
	if o.metrics != service.HTTPOff {
		checks := probe.Checks()
		if reads != nil { // without it, commands are still answered
			checks = append(checks, telemetry.Check{Name: "read_database", Do: reads.Check, Optional: true})
		}
		server, err := telemetry.Serve(o.metrics, p.metrics.Handler(), p.logger, checks)
		if err != nil {
			return err
		}
		defer server.Close()
	}
	p.logger.Info("the HTTP API is running", zap.String("address", listener.Addr().String()), zap.Bool("tls", certificates != nil),
		zap.Bool("tokens_required", !auth.IsOff()), zap.String("namespace", p.namespace), zap.String("task_queue", a.taskQueue))
	if err := s.Serve(ctx, listener, certificates); err != nil {
		return err
	}
	p.logger.Info("the HTTP API has stopped")
	return nil
}

// followReads opens the read database, until ctx ends; nil if there is none of its own.
func (a *app) followReads(ctx context.Context, p *process) (*postgres.Reads, error) {
	if a.read == a.database {
		return nil, nil
	}
	reads, err := service.OpenReads(ctx, a.read, nil)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, reads.Pool.Close)
	go reads.Follow(ctx, p.pool)
	return reads, p.metrics.ObserveReads(reads.Lag)
}

func (o serveOptions) mountConsole(ctx context.Context, s *httpserver.Server, wallets *starter.Client, p *process, reads *postgres.Reads, auth *access.Authenticator) (err error) {
	options := console.Options{Auth: auth, Pool: p.pool, Read: s.Read(), Reads: reads, AwaitVersion: s.AwaitVersion, Wallets: wallets, Logger: p.logger, AnswerTimeout: o.timeout, Allow: s.Allow, Widely: s.Widely, URL: o.consoleURL}
	if text := os.Getenv(envConsoleKey); text != "" {
		if options.Key, err = console.ParseKey(text); err != nil {
			return fmt.Errorf("%s: %w", envConsoleKey, err)
		}
	}
	if o.oidc.ClientID != "" {
		if o.iss == "" || o.consoleURL == "" {
			return cli.Usagef("--console-client-id needs --jwt-issuer, whose people log in, and --console-url, where the issuer sends them back to")
		}
		options.OIDC = &o.oidc
		options.OIDC.Issuer, options.OIDC.ClientSecret = o.iss, os.Getenv(envClientSecret)
	}
	c, err := console.New(ctx, options)
	if err != nil {
		return err
	}
	s.Mount(console.Path, c)
	return nil
}

func (o serveOptions) authenticator(ctx context.Context, logger *zap.Logger) (*access.Authenticator, error) {
	options := access.Options{TokensFile: o.tokens}
	if o.jwks != "" || o.iss != "" || o.aud != "" {
		options.JWT = &access.JWTOptions{JWKS: o.jwks, Issuer: o.iss, Audience: o.aud, Skew: o.skew, KeysFailed: func(err error) {
			logger.Warn("the keys for JWTs cannot be fetched", zap.Error(err))
		}}
	}
	return access.New(ctx, options)
}

// store changes the endpoints of webhooks; nil without a role for it.
func (o serveOptions) store(ctx context.Context) (*webhooks.Store, func(), error) {
	if o.webhooks == "" {
		return nil, func() {}, nil
	}
	guard, err := o.networks.guard()
	if err != nil {
		return nil, nil, err
	}
	keys, err := codec.FromEnv()
	if err != nil {
		return nil, nil, err
	}
	pool, err := service.OpenPool(ctx, service.Database{URL: o.webhooks, Setting: "WALLET_WEBHOOK_DATABASE_URL"})
	if err != nil {
		return nil, nil, err
	}
	return webhooks.NewStore(pool, guard, keys), pool.Close, nil
}

func (o serveOptions) certificates() (*tls.Config, error) {
	if o.cert == "" && o.key == "" {
		return nil, nil
	}
	if _, err := tls.LoadX509KeyPair(o.cert, o.key); err != nil {
		return nil, fmt.Errorf("read the certificate for TLS (--tls-cert, --tls-key): %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(o.cert, o.key) // it may have been renewed
		return &pair, err
	}}, nil
}

func (a *app) tokenCommand() *cobra.Command {
	var t access.StaticToken
	scopes := []string{string(access.Read)}
	cmd := &cobra.Command{
		Use: "token SUBJECT --users USERS", Short: "Make a token for the HTTP API, and its line for --tokens-file", Args: cobra.ExactArgs(1),
		Long: `Make a token for the HTTP API. It is printed once; the entry for the file of
--tokens-file has only its hash: {"tokens": [ENTRY, ...]}.`,
		Example: "  wallet token shop --users '*' --scopes read,write",
		RunE: func(cmd *cobra.Command, args []string) error {
			t.Subject, t.Scopes = args[0], nil
			for _, s := range scopes {
				t.Scopes = append(t.Scopes, access.Scope(s))
			}
			token, hash := access.NewToken()
			t.SHA256 = hash
			entry, err := t.Entry()
			if err != nil {
				return &wallet.InvalidError{Reason: wallet.ReasonMalformed, Field: "token", Message: err.Error()}
			}
			if a.output == "json" {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "{\"token\":%q,\"entry\":%s}\n", token, entry)
			} else {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n%s\n", token, entry)
			}
			return err
		},
	}
	cmd.Flags().StringSliceVar(&scopes, "scopes", scopes, "read, write, admin")
	cmd.Flags().StringSliceVar(&t.Users, "users", nil, `whose wallets it reaches, "*" for all`)
	cmd.Flags().StringSliceVar(&t.Currencies, "currencies", nil, "in which currencies (default: all)")
	cobra.CheckErr(cmd.MarkFlagRequired("users"))
	return cmd
}
