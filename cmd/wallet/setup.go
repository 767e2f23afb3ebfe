package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/nexushandler"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/walletnexus"
)

func (a *app) setupCommand() *cobra.Command {
	endpoint := walletnexus.Endpoint
	cmd := &cobra.Command{
		Use: "setup", Short: "Prepare a Temporal namespace for wallets", Args: cobra.NoArgs,
		Long: `Prepare a Temporal namespace (TEMPORAL_NAMESPACE) for wallets: register the
search attributes, and the Nexus endpoint that leads workflows of other
namespaces to the task queue. It needs an operator's rights and may be repeated.
If the endpoint exists but points elsewhere, it is changed.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, err := service.NewLogger("error", a.logFormat)
			if err != nil {
				return err
			}
			temporal, namespace, err := service.DialTemporal(cmd.Context(), logger, nil)
			if err != nil {
				return err
			}
			defer temporal.Close()
			if err := starter.RegisterSearchAttributes(cmd.Context(), temporal, namespace); err != nil {
				return err
			}
			if err := nexushandler.RegisterEndpoint(cmd.Context(), temporal, endpoint, namespace, a.taskQueue); err != nil {
				return err
			}
			if a.output == "json" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]string{"namespace": namespace, "nexus_endpoint": endpoint, "task_queue": a.taskQueue})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "namespace %s is ready, Nexus endpoint %s leads to its task queue %s\n", namespace, endpoint, a.taskQueue)
			return nil
		},
	}
	cmd.Flags().StringVar(&endpoint, "nexus-endpoint", endpoint, "name of the endpoint; endpoints are of the whole cluster, so a second wallet on it needs a name of its own")
	return cmd
}
