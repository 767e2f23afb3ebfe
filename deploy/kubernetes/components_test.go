package kubernetes

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

func TestAFailedVerificationIsAFailedJob(t *testing.T) {
	objects := build(t, "base")
	cron := all[*batchv1.CronJob](objects)["wallet-verify"]
	require.NotNil(t, cron, "the alerts ask for it")
	require.Equal(t, batchv1.ForbidConcurrent, cron.Spec.ConcurrencyPolicy)
	require.Zero(t, *cron.Spec.JobTemplate.Spec.BackoffLimit)
	require.NotZero(t, *cron.Spec.JobTemplate.Spec.ActiveDeadlineSeconds, "one that hangs forbids all later ones")
	pod := pods(objects)["verify"]
	require.Equal(t, corev1.RestartPolicyNever, pod.RestartPolicy)
	var given []string
	for _, variable := range pod.Containers[0].Env {
		given = append(given, variable.Name)
	}
	require.Equal(t, []string{"WALLET_DATABASE_URL", "WALLET_READ_DATABASE_URL"}, given, "no more than it needs")
	require.Empty(t, pod.Containers[0].EnvFrom)
}

func TestPrometheusFindsTheProcesses(t *testing.T) {
	for _, name := range []string{"wallet-worker", "wallet-api", "wallet-webhooks"} {
		template := all[*appsv1.Deployment](build(t, "example"))[name].Spec.Template
		require.Equal(t, "true", template.Annotations["prometheus.io/scrape"])
		require.Equal(t, strconv.Itoa(int(port(t, template.Spec.Containers[0], "http"))), template.Annotations["prometheus.io/port"])
	}
	objects := build(t, "testdata/all")
	scraped := map[string]string{}
	for component, template := range templates(objects) {
		require.Empty(t, template.Annotations, "or all is counted twice")
		for name, monitor := range all[*monitoringv1.PodMonitor](objects) {
			selector, err := metav1.LabelSelectorAsSelector(&monitor.Spec.Selector)
			require.NoError(t, err)
			if selector.Matches(labels.Set(template.Labels)) {
				require.Empty(t, scraped[component], "or all is counted twice")
				scraped[component] = name
				require.Contains(t, portNames(template.Spec), *monitor.Spec.PodMetricsEndpoints[0].Port)
			}
		}
	}
	require.Equal(t, map[string]string{"worker": "wallet-worker", "api": "wallet-others", "webhooks": "wallet-others"}, scraped)
	monitor := all[*monitoringv1.PodMonitor](objects)["wallet-worker"].Spec
	require.Equal(t, "wallet", templates(objects)["worker"].Labels[monitor.JobLabel], "the job that the alerts ask for")
}

func TestCertificatesAreWhereTheyAreLookedFor(t *testing.T) {
	plain := pods(build(t, "testdata/plain"))
	for name, pod := range pods(build(t, "testdata/all")) {
		volumes, mounts := map[string]corev1.Volume{}, map[string]corev1.VolumeMount{}
		for _, v := range pod.Volumes {
			volumes[v.Name] = v
		}
		for _, m := range pod.Containers[0].VolumeMounts {
			mounts[m.Name] = m
			require.Equal(t, m.Name != "tmp", m.ReadOnly, m.Name)
			require.Contains(t, volumes, m.Name, name)
		}
		require.Len(t, volumes, len(plain[name].Volumes)+1, name)
		require.Equal(t, "wallet-tls", volumes["tls"].Secret.SecretName, name)
		require.Equal(t, *pod.SecurityContext.RunAsGroup, *pod.SecurityContext.FSGroup, "who is nobody reads them by their group")
		for _, v := range volumes {
			if v.Secret != nil {
				require.EqualValues(t, 0o440, *v.Secret.DefaultMode)
			}
		}
		of := 0
		for _, e := range pod.Containers[0].Env {
			if strings.HasPrefix(e.Name, "TEMPORAL_TLS_") {
				require.Equal(t, mounts["tls"].MountPath, filepath.Dir(e.Value), e.Name)
				of++
			}
		}
		require.Equal(t, map[string]int{"worker": 3, "api": 3}[name], of, name)
		require.Len(t, pod.Containers[0].Env, len(plain[name].Containers[0].Env)+of, name)
	}
}

// TestTheCommandsInTheDocsMakeWhatTheManifestsNeed assumes a new cluster, which has neither the
// namespace nor the secrets.
func TestTheCommandsInTheDocsMakeWhatTheManifestsNeed(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join(root, "docs", "deploy.md"))
	require.NoError(t, err)
	objects := build(t, "example")
	namespace := all[*appsv1.Deployment](objects)["wallet-worker"].Namespace
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
		for _, v := range pod.Volumes {
			if v.Secret == nil {
				continue
			}
			require.Regexp(t, `-n `+namespace+` create secret generic `+v.Secret.SecretName+` [^;]*--from-file=`+v.Secret.Items[0].Key, made)
		}
	}
}

// TestThePodsOfTheAPIShareTheSessionsOfTheConsole checks that a page of one pod opens the session
// that another began, and that the docs make the key.
func TestThePodsOfTheAPIShareTheSessionsOfTheConsole(t *testing.T) {
	objects := build(t, "example")
	require.Greater(t, *all[*appsv1.Deployment](objects)["wallet-api"].Spec.Replicas, int32(1))
	keys := map[string]string{}
	for _, e := range pods(objects)["api"].Containers[0].Env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef.Name == "wallet-api" {
			require.True(t, *e.ValueFrom.SecretKeyRef.Optional, e.Name)
			keys[e.Name] = e.ValueFrom.SecretKeyRef.Key
		}
	}
	require.Equal(t, "console-key", keys["WALLET_CONSOLE_KEY"])
	doc, err := os.ReadFile(filepath.Join(root, "docs", "deploy.md"))
	require.NoError(t, err)
	require.Regexp(t, `create secret generic wallet-api [^;]*--from-literal=console-key="\$\(openssl rand -base64 32\)"`, string(doc))
	comment, err := os.ReadFile("api/kustomization.yaml")
	require.NoError(t, err)
	for _, key := range keys {
		require.Contains(t, string(comment), key)
	}
}

// TestTheAPIWritesTemporaryFilesAlone checks that the check of a run has where to write, and no more
// than a node can spare.
func TestTheAPIWritesTemporaryFilesAlone(t *testing.T) {
	pod := pods(build(t, "testdata/all"))["api"]
	volumes := map[string]corev1.Volume{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = v
	}
	var writable []string
	for _, m := range pod.Containers[0].VolumeMounts {
		if !m.ReadOnly {
			writable = append(writable, m.MountPath)
			require.Positive(t, volumes[m.Name].EmptyDir.SizeLimit.Value())
		}
	}
	require.Equal(t, []string{"/tmp"}, writable)
}
