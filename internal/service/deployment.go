package service

import (
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// deployment assigns the worker to a Worker Deployment Version, if v is set. A wallet then
// moves to the current version with its next task. Pinned to its first version, it would need
// workers of that version forever, because wallets do not end.
func deployment(v worker.WorkerDeploymentVersion) (o worker.DeploymentOptions) {
	if v == (worker.WorkerDeploymentVersion{}) {
		return o
	}
	o.UseVersioning, o.Version, o.DefaultVersioningBehavior = true, v, workflow.VersioningBehaviorAutoUpgrade
	return o
}
