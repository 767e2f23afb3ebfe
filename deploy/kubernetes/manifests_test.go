// Package kubernetes tests the manifests.
package kubernetes

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	kedav1alpha1 "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const root = "../.."

// build renders a folder as "kubectl apply -k" does, and reads each object as the server does
// with --validate=strict: an unknown field is an error.
func build(t *testing.T, folder string) map[string]runtime.Object {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		appsv1.AddToScheme, batchv1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme,
		kedav1alpha1.AddToScheme, monitoringv1.AddToScheme,
	} {
		require.NoError(t, add(scheme))
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	require.NoError(t, err)
	objects := map[string]runtime.Object{}
	for _, r := range rendered.Resources() {
		text, err := r.AsYAML()
		require.NoError(t, err)
		object, kind, err := decoder.Decode(text, nil, nil)
		require.NoError(t, err, string(text))
		objects[kind.Kind] = object
	}
	return objects
}

func pods(objects map[string]runtime.Object) map[string]corev1.PodSpec {
	return map[string]corev1.PodSpec{
		"worker":  objects["Deployment"].(*appsv1.Deployment).Spec.Template.Spec,
		"migrate": objects["Job"].(*batchv1.Job).Spec.Template.Spec,
		"verify":  objects["CronJob"].(*batchv1.CronJob).Spec.JobTemplate.Spec.Template.Spec,
	}
}

func TestEveryManifestIsUnderstood(t *testing.T) {
	require.Len(t, build(t, "base"), 6)
	scaled := build(t, "example")
	require.Len(t, scaled, 7)
	require.Nil(t, scaled["Deployment"].(*appsv1.Deployment).Spec.Replicas, "whoever applies again leaves the number to KEDA")
	object := scaled["ScaledObject"].(*kedav1alpha1.ScaledObject)
	require.Equal(t, scaled["Deployment"].(*appsv1.Deployment).Name, object.Spec.ScaleTargetRef.Name)
	settings, backlog := scaled["ConfigMap"].(*corev1.ConfigMap).Data, object.Spec.Triggers[0].Metadata
	require.Contains(t, settings, backlog["endpointFromEnv"])
	require.Equal(t, settings["TEMPORAL_NAMESPACE"], backlog["namespace"])
	require.Equal(t, settings["WALLET_TASK_QUEUE"], backlog["taskQueue"])
}

func TestPodsAreConfined(t *testing.T) {
	for name, pod := range pods(build(t, "testdata/all")) {
		require.True(t, *pod.SecurityContext.RunAsNonRoot, name)
		require.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, pod.SecurityContext.SeccompProfile.Type)
		require.False(t, *pod.AutomountServiceAccountToken)
		for _, c := range pod.Containers {
			require.True(t, *c.SecurityContext.ReadOnlyRootFilesystem)
			require.False(t, *c.SecurityContext.AllowPrivilegeEscalation)
			require.Equal(t, []corev1.Capability{"ALL"}, c.SecurityContext.Capabilities.Drop)
			require.Contains(t, c.Resources.Requests, corev1.ResourceMemory)
			require.Contains(t, c.Resources.Limits, corev1.ResourceMemory)
		}
	}
}

// TestOnlyWhatIsNeededGoesThroughTheNetwork checks that the policy is about every pod, and
// knows the ports that the manifests name.
func TestOnlyWhatIsNeededGoesThroughTheNetwork(t *testing.T) {
	objects := build(t, "base")
	policy := objects["NetworkPolicy"].(*networkingv1.NetworkPolicy)
	require.Equal(t, "wallet", policy.Name)
	covers := labels.SelectorFromSet(policy.Spec.PodSelector.MatchLabels)
	worker := objects["Deployment"].(*appsv1.Deployment).Spec.Template
	for name, template := range map[string]corev1.PodTemplateSpec{
		"worker": worker, "migrate": objects["Job"].(*batchv1.Job).Spec.Template,
		"verify": objects["CronJob"].(*batchv1.CronJob).Spec.JobTemplate.Spec.Template,
	} {
		require.True(t, covers.Matches(labels.Set(template.Labels)), name)
	}
	require.ElementsMatch(t, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}, policy.Spec.PolicyTypes)
	require.Len(t, policy.Spec.Ingress, 1)
	require.Equal(t, "monitoring", policy.Spec.Ingress[0].From[0].NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"])
	require.Equal(t, worker.Spec.Containers[0].Ports[0].Name, policy.Spec.Ingress[0].Ports[0].Port.String())
	out := map[string]bool{}
	for _, rule := range policy.Spec.Egress {
		require.NotEmpty(t, rule.Ports, "an empty list is every port")
		for _, p := range rule.Ports {
			out[string(*p.Protocol)+" "+p.Port.String()] = true
		}
	}
	_, temporal, _ := strings.Cut(objects["ConfigMap"].(*corev1.ConfigMap).Data["TEMPORAL_ADDRESS"], ":")
	for _, port := range []string{"UDP 53", "TCP 53", "TCP 5432", "TCP 6432", "TCP " + temporal, "TCP 4317", "TCP 4318"} {
		require.True(t, out[port], port)
	}
	require.Len(t, out, 7)
}

// ofOthers are not wallet's: GOMEMLIMIT is Go's, and the help has only TEMPORAL_TLS_... of
// Temporal's, with which cmd/wallet's tests start a worker.
var ofOthers = []string{
	"GOMEMLIMIT", "TEMPORAL_TLS_SERVER_CA_CERT_PATH", "TEMPORAL_TLS_CLIENT_CERT_PATH", "TEMPORAL_TLS_CLIENT_KEY_PATH",
}

func TestWhatTheManifestsNameIsInTheProgram(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "wallet")
	compile := exec.Command("go", "build", "-o", binary, "./cmd/wallet")
	compile.Dir = root
	out, err := compile.CombinedOutput()
	require.NoError(t, err, string(out))
	objects := build(t, "testdata/all")
	shared := objects["ConfigMap"].(*corev1.ConfigMap)
	for _, pod := range pods(objects) {
		for _, c := range pod.Containers {
			help, err := exec.Command(binary, append(c.Args, "--help")...).CombinedOutput()
			require.NoError(t, err, string(help))
			general, err := exec.Command(binary, "--help").Output()
			require.NoError(t, err)
			known := string(help) + string(general)
			require.NotContains(t, string(help), "Available Commands", "%q is a command that does something", c.Args)
			var names []string
			for _, e := range c.Env {
				names = append(names, e.Name)
			}
			for _, from := range c.EnvFrom {
				require.Equal(t, shared.Name, from.ConfigMapRef.Name)
				for name := range shared.Data {
					names = append(names, name)
				}
			}
			for _, name := range names {
				require.True(t, regexp.MustCompile(`\b`+name+`\b`).MatchString(known+strings.Join(ofOthers, " ")), "%q does not know %s", c.Args, name)
			}
		}
	}
}

func TestTheWorkerIsAskedWhereItListensAndMayDrain(t *testing.T) {
	objects := build(t, "base")
	pod := pods(objects)["worker"]
	worker := pod.Containers[0]
	address := objects["ConfigMap"].(*corev1.ConfigMap).Data["WALLET_HTTP_ADDRESS"]
	require.Equal(t, address, "0.0.0.0:"+strconv.Itoa(int(worker.Ports[0].ContainerPort)))
	for path, probe := range map[string]*corev1.Probe{"/healthz": worker.LivenessProbe, "/readyz": worker.ReadinessProbe} {
		require.Equal(t, path, probe.HTTPGet.Path)
		require.Equal(t, worker.Ports[0].Name, probe.HTTPGet.Port.String())
	}

	source, err := os.ReadFile(filepath.Join(root, "internal", "service", "service.go"))
	require.NoError(t, err)
	drain := regexp.MustCompile(`drainTimeout = (\d+) \* time\.Second`).FindSubmatch(source)
	require.NotNil(t, drain)
	seconds, err := strconv.ParseInt(string(drain[1]), 10, 64)
	require.NoError(t, err)
	require.Greater(t, *pod.TerminationGracePeriodSeconds, seconds+10, "what is under way, then the connections")
}
