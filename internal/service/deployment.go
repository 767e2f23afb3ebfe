package service

import (
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// deployment makes the worker one of a Worker Deployment Version, if v is one. A wallet
// then moves to the current version with its next task. Pinned, it would need workers
// of its first version for ever, since wallets do not end.
func deployment(v worker.WorkerDeploymentVersion) (o worker.DeploymentOptions) {
	if v == (worker.WorkerDeploymentVersion{}) {
		return o
	}
	o.UseVersioning, o.Version, o.DefaultVersioningBehavior = true, v, workflow.VersioningBehaviorAutoUpgrade
	return o
}
