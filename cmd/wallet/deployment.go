package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/worker"

	"github.com/valueledger/wallet/internal/service/cli"
)

// deploymentFlags make a worker one of a Worker Deployment Version. The variables are
// those that Temporal's Worker Controller for Kubernetes sets.
type deploymentFlags struct{ name, buildID string }

func (f *deploymentFlags) addTo(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.name, "deployment-name", os.Getenv("TEMPORAL_DEPLOYMENT_NAME"), "take part in this Worker Deployment, with Temporal's routing of versions; without it, in none (TEMPORAL_DEPLOYMENT_NAME)")
	cmd.Flags().StringVar(&f.buildID, "build-id", os.Getenv("TEMPORAL_WORKER_BUILD_ID"), "the version there, by default that of \"wallet version\" (TEMPORAL_WORKER_BUILD_ID)")
}

// version is zero where the worker is of no deployment.
func (f deploymentFlags) version() (v worker.WorkerDeploymentVersion, err error) {
	v.DeploymentName, v.BuildID = f.name, f.buildID
	switch {
	case f.name == "" && f.buildID != "":
		return v, cli.Usagef("a build id is of a Worker Deployment: set TEMPORAL_DEPLOYMENT_NAME too, or leave TEMPORAL_WORKER_BUILD_ID out")
	case f.name == "":
	case f.buildID == "":
		if v.BuildID = thisBuild().Version; v.BuildID == developed || strings.HasSuffix(v.BuildID, "+dirty") {
			return v, cli.Usagef("this build has no version: set TEMPORAL_WORKER_BUILD_ID to one that no other build has")
		}
	}
	return v, nil
}
