package main

import (
	"fmt"
	"net"
	"os"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/codecserver"
)

const codecTokenSetting = "WALLET_CODEC_TOKEN"

func (a *app) codecServerCommand() *cobra.Command {
	var address string
	var origins []string
	cmd := &cobra.Command{
		Use: "codec-server", Short: "Decrypt payloads for Temporal's Web UI and CLI",
		Long: `Decrypt payloads for Temporal's Web UI and CLI, for whoever has the token of
WALLET_CODEC_TOKEN, with the keys of WALLET_PAYLOAD_KEYS. It speaks plain HTTP:
beyond this machine put a proxy with TLS before it.`,
		Example: `  wallet codec-server --ui-origin http://127.0.0.1:8233
  temporal workflow show --workflow-id wallet-asset/USD/u1 \
    --codec-endpoint http://127.0.0.1:8089 --codec-auth "Bearer $WALLET_CODEC_TOKEN"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, err := service.NewLogger(a.logLevel, a.logFormat)
			if err != nil {
				return err
			}
			keys, err := codec.FromEnv()
			if err != nil {
				return err
			}
			token := os.Getenv(codecTokenSetting)
			if token == "" {
				return fmt.Errorf(`%s is not set: make a token with "openssl rand -hex 32"`, codecTokenSetting)
			}
			handler, err := codecserver.Handler(codecserver.Options{Keys: keys, Token: token, UIOrigins: origins})
			if err != nil {
				return err
			}
			listener, err := net.Listen("tcp", address)
			if err != nil {
				return fmt.Errorf("listen for the codec server (--listen): %w", err)
			}
			logger.Info("codec server is running", zap.String("endpoint", "http://"+listener.Addr().String()),
				zap.Strings("keys", keys.IDs()), zap.Strings("ui_origins", origins))
			return codecserver.Serve(cmd.Context(), listener, handler)
		},
	}
	cmd.Flags().StringVar(&address, "listen", "127.0.0.1:8089", "address and port")
	cmd.Flags().StringSliceVar(&origins, "ui-origin", nil, "origin of the Web UI, whose pages may use this server; none by default")
	return cmd
}
