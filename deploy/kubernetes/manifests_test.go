// Package kubernetes tests the manifests.
package kubernetes

import (
	"cmp"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const root = "../.."

// build renders a folder as "kubectl apply -k" does, and reads each object as the server does
// with --validate=strict: an unknown field is an error.
func build(t *testing.T, folder string) []runtime.Object {
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
	var objects []runtime.Object
	for _, r := range rendered.Resources() {
		text, err := r.AsYAML()
		require.NoError(t, err)
		object, _, err := decoder.Decode(text, nil, nil)
		require.NoError(t, err, string(text))
		objects = append(objects, object)
	}
	return objects
}

// all returns the objects of a type by their names.
func all[T metav1.Object](objects []runtime.Object) map[string]T {
	found := map[string]T{}
	for _, object := range objects {
		if o, ok := object.(T); ok {
			found[o.GetName()] = o
		}
	}
	return found
}

// settings returns the ConfigMap, whose name has a hash.
func settings(t *testing.T, objects []runtime.Object) *corev1.ConfigMap {
	found := all[*corev1.ConfigMap](objects)
	require.Len(t, found, 1)
	for _, o := range found {
		return o
	}
	return nil
}

// templates returns those of all pods, by their component.
func templates(objects []runtime.Object) map[string]corev1.PodTemplateSpec {
	found := map[string]corev1.PodTemplateSpec{}
	add := func(template corev1.PodTemplateSpec) {
		found[template.Labels["app.kubernetes.io/component"]] = template
	}
	for _, o := range all[*appsv1.Deployment](objects) {
		add(o.Spec.Template)
	}
	for _, o := range all[*batchv1.Job](objects) {
		add(o.Spec.Template)
	}
	for _, o := range all[*batchv1.CronJob](objects) {
		add(o.Spec.JobTemplate.Spec.Template)
	}
	return found
}

func pods(objects []runtime.Object) map[string]corev1.PodSpec {
	found := map[string]corev1.PodSpec{}
	for component, template := range templates(objects) {
		found[component] = template.Spec
	}
	return found
}

func TestEveryManifestIsUnderstood(t *testing.T) {
	require.Len(t, build(t, "base"), 6)
	scaled := build(t, "example")
	require.Len(t, scaled, 13)
	require.Len(t, pods(scaled), 5)
	require.Len(t, pods(build(t, "testdata/all")), 5)
	worker := all[*appsv1.Deployment](scaled)["wallet-worker"]
	require.Nil(t, worker.Spec.Replicas, "whoever applies again leaves the number to KEDA")
	object := all[*kedav1alpha1.ScaledObject](scaled)["wallet-worker"]
	require.Equal(t, worker.Name, object.Spec.ScaleTargetRef.Name)
	settings, backlog := settings(t, scaled).Data, object.Spec.Triggers[0].Metadata
	require.Contains(t, settings, backlog["endpointFromEnv"])
	require.Equal(t, settings["TEMPORAL_NAMESPACE"], backlog["namespace"])
	require.Equal(t, settings["WALLET_TASK_QUEUE"], backlog["taskQueue"])
	for _, d := range all[*appsv1.Deployment](scaled) {
		require.True(t, labels.SelectorFromSet(d.Spec.Selector.MatchLabels).Matches(labels.Set(d.Spec.Template.Labels)))
		require.Equal(t, "wallet", d.Labels["app.kubernetes.io/name"])
	}
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
	objects := build(t, "testdata/all")
	policies := all[*networkingv1.NetworkPolicy](objects)
	require.Len(t, policies, 3)
	policy := policies["wallet"]
	covers := labels.SelectorFromSet(policy.Spec.PodSelector.MatchLabels)
	for name, template := range templates(objects) {
		require.True(t, covers.Matches(labels.Set(template.Labels)), name)
	}
	require.ElementsMatch(t, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}, policy.Spec.PolicyTypes)
	require.Len(t, policy.Spec.Ingress, 1)
	require.Equal(t, "monitoring", policy.Spec.Ingress[0].From[0].NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"])
	for _, component := range []string{"worker", "api", "webhooks"} {
		require.Contains(t, portNames(pods(objects)[component]), policy.Spec.Ingress[0].Ports[0].Port.String(), component)
	}
	_, temporal, _ := strings.Cut(settings(t, objects).Data["TEMPORAL_ADDRESS"], ":")
	require.ElementsMatch(t, []string{"UDP 53", "TCP 53", "TCP 5432", "TCP 6432", "TCP " + temporal, "TCP 4317", "TCP 4318"}, egress(t, policy))
}

// TestEachComponentIsLetThroughTheNetworkAlone checks what the components add to that.
func TestEachComponentIsLetThroughTheNetworkAlone(t *testing.T) {
	objects := build(t, "testdata/all")
	policies := all[*networkingv1.NetworkPolicy](objects)
	for _, component := range []string{"api", "webhooks"} {
		covers := labels.SelectorFromSet(policies["wallet-"+component].Spec.PodSelector.MatchLabels)
		for name, template := range templates(objects) {
			require.Equal(t, name == component, covers.Matches(labels.Set(template.Labels)), "%s: %s", component, name)
		}
	}
	api := policies["wallet-api"]
	require.Len(t, api.Spec.Ingress, 1)
	require.NotEmpty(t, api.Spec.Ingress[0].From, "an empty list is everybody")
	require.Len(t, api.Spec.Ingress[0].Ports, 1)
	require.Equal(t, "api", api.Spec.Ingress[0].Ports[0].Port.String())
	require.Equal(t, []string{"TCP 443"}, egress(t, api))

	webhooks := policies["wallet-webhooks"]
	require.Equal(t, []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}, webhooks.Spec.PolicyTypes, "nobody calls it")
	require.Equal(t, []string{"TCP 443", "TCP 1024-65535"}, egress(t, webhooks))
	for _, inside := range []string{"10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "127.0.0.1", "100.64.0.1", "::1", "fd00::1", "fe80::1"} {
		require.False(t, reaches(webhooks.Spec.Egress[0].To, inside), inside)
	}
	for _, outside := range []string{"8.8.8.8", "2001:4860:4860::8888"} {
		require.True(t, reaches(webhooks.Spec.Egress[0].To, outside), outside)
	}
}

func reaches(to []networkingv1.NetworkPolicyPeer, address string) bool {
	ip := netip.MustParseAddr(address)
	for _, peer := range to {
		if netip.MustParsePrefix(peer.IPBlock.CIDR).Contains(ip) {
			return !slices.ContainsFunc(peer.IPBlock.Except, func(except string) bool { return netip.MustParsePrefix(except).Contains(ip) })
		}
	}
	return false
}

func egress(t *testing.T, policy *networkingv1.NetworkPolicy) (out []string) {
	for _, rule := range policy.Spec.Egress {
		require.NotEmpty(t, rule.Ports, "an empty list is every port")
		for _, p := range rule.Ports {
			port := string(*p.Protocol) + " " + p.Port.String()
			if p.EndPort != nil {
				port += "-" + strconv.Itoa(int(*p.EndPort))
			}
			out = append(out, port)
		}
	}
	return out
}

func portNames(pod corev1.PodSpec) (names []string) {
	for _, port := range pod.Containers[0].Ports {
		names = append(names, port.Name)
	}
	return names
}

// ofOthers are not wallet's: GOMEMLIMIT is Go's, and the help has only TEMPORAL_TLS_... of
// Temporal's, with which cmd/wallet's tests start a worker.
var ofOthers = []string{
	"GOMEMLIMIT", "TEMPORAL_TLS_SERVER_CA_CERT_PATH", "TEMPORAL_TLS_CLIENT_CERT_PATH", "TEMPORAL_TLS_CLIENT_KEY_PATH",
}

func compileWallet(t *testing.T) string {
	binary := filepath.Join(t.TempDir(), "wallet")
	compile := exec.Command("go", "build", "-o", binary, "./cmd/wallet")
	compile.Dir = root
	out, err := compile.CombinedOutput()
	require.NoError(t, err, string(out))
	return binary
}

func TestWhatTheManifestsNameIsInTheProgram(t *testing.T) {
	binary := compileWallet(t)
	objects := build(t, "testdata/all")
	shared := settings(t, objects)
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

func TestEachProcessIsAskedWhereItListensAndMayDrain(t *testing.T) {
	objects := build(t, "testdata/all")
	shared := settings(t, objects).Data
	for component, row := range map[string]struct {
		setting, source, constant string // how long a stop waits
	}{
		"worker":   {"WALLET_HTTP_ADDRESS", "service.go", "drainTimeout"},
		"api":      {"WALLET_HTTP_ADDRESS", "httpserver/listen.go", "stopPatience"},
		"webhooks": {"WALLET_WEBHOOK_HTTP_ADDRESS", "", ""},
	} {
		pod := pods(objects)[component]
		c := pod.Containers[0]
		listens := cmp.Or(value(c, row.setting), shared[row.setting])
		require.Equal(t, listens, "0.0.0.0:"+strconv.Itoa(int(port(t, c, "http"))), component)
		require.Equal(t, "/healthz", c.StartupProbe.HTTPGet.Path, component)
		for path, probe := range map[string]*corev1.Probe{"/healthz": c.LivenessProbe, "/readyz": c.ReadinessProbe} {
			require.Equal(t, path, probe.HTTPGet.Path, component)
			require.Equal(t, "http", probe.HTTPGet.Port.String(), component)
		}
		if row.source == "" {
			continue // it stops at once
		}
		source, err := os.ReadFile(filepath.Join(root, "internal", "service", row.source))
		require.NoError(t, err)
		drain := regexp.MustCompile(row.constant + ` += (\d+) \* time\.Second`).FindSubmatch(source)
		require.NotNil(t, drain, component)
		seconds, err := strconv.ParseInt(string(drain[1]), 10, 64)
		require.NoError(t, err)
		if c.Lifecycle != nil {
			seconds += c.Lifecycle.PreStop.Sleep.Seconds
		}
		require.Greater(t, *pod.TerminationGracePeriodSeconds, seconds+10, "what is under way, then the connections")
	}
}

// TestTheAPIHasItsTokensAndItsCallers checks that it does not listen without tokens, which it
// would refuse, and that the service leads to it.
func TestTheAPIHasItsTokensAndItsCallers(t *testing.T) {
	objects := build(t, "testdata/all")
	c := pods(objects)["api"].Containers[0]
	require.Equal(t, "0.0.0.0:"+strconv.Itoa(int(port(t, c, "api"))), value(c, "WALLET_API_ADDRESS"))
	service := all[*corev1.Service](objects)["wallet-api"]
	require.True(t, labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(templates(objects)["api"].Labels)))
	require.Equal(t, "api", service.Spec.Ports[0].TargetPort.String())
	folder, file := filepath.Split(value(c, "WALLET_TOKENS_FILE"))
	tokens := pods(objects)["api"].Volumes[0]
	require.Equal(t, filepath.Clean(folder), c.VolumeMounts[0].MountPath)
	require.Equal(t, tokens.Name, c.VolumeMounts[0].Name)
	require.Equal(t, file, tokens.Secret.Items[0].Path)
	require.Empty(t, c.VolumeMounts[0].SubPath, "a changed secret would not come through")
}

func value(c corev1.Container, name string) string {
	for _, e := range c.Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

func port(t *testing.T, c corev1.Container, name string) int32 {
	for _, p := range c.Ports {
		if p.Name == name {
			return p.ContainerPort
		}
	}
	require.Fail(t, "no port", "%s of %s", name, c.Name)
	return 0
}
