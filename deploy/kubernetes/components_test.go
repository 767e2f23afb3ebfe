package kubernetes

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

func TestAFailedVerificationIsAFailedJob(t *testing.T) {
	objects := build(t, "base")
	cron := objects["CronJob"].(*batchv1.CronJob)
	require.Equal(t, "wallet-verify", cron.Name, "the alerts ask for it")
	require.Equal(t, batchv1.ForbidConcurrent, cron.Spec.ConcurrencyPolicy)
	require.Zero(t, *cron.Spec.JobTemplate.Spec.BackoffLimit)
	require.NotZero(t, *cron.Spec.JobTemplate.Spec.ActiveDeadlineSeconds, "one that hangs forbids all later ones")
	pod := pods(objects)["verify"]
	require.Equal(t, corev1.RestartPolicyNever, pod.RestartPolicy)
	require.Len(t, pod.Containers[0].Env, 1, "no more than it needs")
	require.Empty(t, pod.Containers[0].EnvFrom)
}

func TestPrometheusFindsTheWorkers(t *testing.T) {
	worker := build(t, "base")["Deployment"].(*appsv1.Deployment).Spec.Template
	require.Equal(t, "true", worker.Annotations["prometheus.io/scrape"])
	address := build(t, "base")["ConfigMap"].(*corev1.ConfigMap).Data["WALLET_HTTP_ADDRESS"]
	require.True(t, strings.HasSuffix(address, ":"+worker.Annotations["prometheus.io/port"]))

	objects := build(t, "testdata/all")
	worker = objects["Deployment"].(*appsv1.Deployment).Spec.Template
	require.Empty(t, worker.Annotations, "or all is counted twice")
	monitor := objects["PodMonitor"].(*monitoringv1.PodMonitor).Spec
	require.Equal(t, "wallet", worker.Labels[monitor.JobLabel], "the job that the alerts ask for")
	require.True(t, labels.SelectorFromSet(monitor.Selector.MatchLabels).Matches(labels.Set(worker.Labels)))
	require.Equal(t, worker.Spec.Containers[0].Ports[0].Name, *monitor.PodMetricsEndpoints[0].Port)
}

func TestCertificatesAreWhereTheyAreLookedFor(t *testing.T) {
	for name, pod := range pods(build(t, "testdata/all")) {
		require.Equal(t, "wallet-tls", pod.Volumes[0].Secret.SecretName, name)
		require.Equal(t, *pod.SecurityContext.RunAsGroup, *pod.SecurityContext.FSGroup, "who is nobody reads them by their group")
		require.EqualValues(t, 0o440, *pod.Volumes[0].Secret.DefaultMode)
		mount := pod.Containers[0].VolumeMounts[0]
		require.Equal(t, pod.Volumes[0].Name, mount.Name)
		require.True(t, mount.ReadOnly)
		for _, e := range pod.Containers[0].Env {
			if strings.HasPrefix(e.Name, "TEMPORAL_TLS_") {
				require.Equal(t, mount.MountPath, filepath.Dir(e.Value), e.Name)
			}
		}
	}
	require.Len(t, pods(build(t, "testdata/all"))["worker"].Containers[0].Env, len(pods(build(t, "base"))["worker"].Containers[0].Env)+3)
}

// TestTheCommandsInTheDocsMakeWhatTheManifestsNeed assumes a new cluster, which has neither the
// namespace nor the secrets.
func TestTheCommandsInTheDocsMakeWhatTheManifestsNeed(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join(root, "docs", "deploy.md"))
	require.NoError(t, err)
	objects := build(t, "example")
	namespace := objects["Deployment"].(*appsv1.Deployment).Namespace
	commands := regexp.MustCompile(`(?m)^kubectl [^\\\n]*(\\\n[^\\\n]*)*`).FindAllString(string(doc), -1)
	require.NotEmpty(t, commands)
	require.Equal(t, "kubectl create namespace "+namespace, commands[0])
	made := strings.Join(commands, "\n")
	for _, pod := range pods(objects) {
		for _, e := range pod.Containers[0].Env {
			if e.ValueFrom != nil && (e.ValueFrom.SecretKeyRef.Optional == nil || !*e.ValueFrom.SecretKeyRef.Optional) {
				ref := e.ValueFrom.SecretKeyRef
				require.Regexp(t, `-n `+namespace+` create secret generic `+ref.Name+` [^;]*--from-literal=`+ref.Key+`=`, made)
			}
		}
	}
}
