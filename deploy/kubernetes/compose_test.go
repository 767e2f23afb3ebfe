package kubernetes

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

type composeService struct {
	Build       string
	Command     []string
	Environment map[string]string
	Ports       []string
	Healthcheck struct{ Test []string }
	Volumes     []string
}

// readCompose reads what Wallet's own services need of docker-compose.yml.
func readCompose(t *testing.T) map[string]composeService {
	text, err := os.ReadFile(filepath.Join(root, "docker-compose.yml"))
	require.NoError(t, err)
	var file struct{ Services map[string]composeService }
	require.NoError(t, yaml.Unmarshal(text, &file))
	own := map[string]composeService{}
	for name, service := range file.Services {
		for _, port := range service.Ports {
			require.True(t, strings.HasPrefix(port, "127.0.0.1:"), "%s: passwords and tokens are for development", port)
		}
		if service.Build != "" {
			own[name] = service
		}
	}
	return own
}

func TestWhatComposeNamesIsInTheProgram(t *testing.T) {
	binary := compileWallet(t)
	general, err := exec.Command(binary, "--help").Output()
	require.NoError(t, err)
	services := readCompose(t)
	require.Len(t, services, 4)
	for name, service := range services {
		help, err := exec.Command(binary, append(slices.Clone(service.Command), "--help")...).CombinedOutput()
		require.NoError(t, err, string(help))
		require.NotContains(t, string(help), "Available Commands", name)
		for variable := range service.Environment {
			if strings.HasPrefix(variable, "WALLET_") {
				require.Regexp(t, `\b`+variable+`\b`, string(help)+string(general), name)
			}
		}
		if name == "migrate" {
			continue
		}
		require.Equal(t, []string{"CMD", "/wallet", "ready"}, service.Healthcheck.Test[:3], name)
		listens := service.Environment["WALLET_HTTP_ADDRESS"]
		if i := slices.Index(service.Command, "--http-address"); i >= 0 {
			listens = service.Command[i+1]
			require.Equal(t, []string{"--http-address", "127.0.0.1:9464"}, service.Healthcheck.Test[3:], name)
		}
		require.Equal(t, "0.0.0.0:9464", listens, "where Prometheus looks: %s", name)
	}
	prometheus, err := os.ReadFile(filepath.Join(root, "deploy", "observability", "prometheus.yml"))
	require.NoError(t, err)
	for _, name := range []string{"worker", "api", "webhooks"} {
		require.Contains(t, string(prometheus), "names: ["+name+"]")
	}
}

// TestTheAPIOfComposeMayChangeWebhooks as the role that sends them, with its password.
func TestTheAPIOfComposeMayChangeWebhooks(t *testing.T) {
	services := readCompose(t)
	api, password := services["api"].Environment, services["migrate"].Environment["WALLET_WEBHOOKS_PASSWORD"]
	require.NotEmpty(t, password)
	require.Equal(t, "host=postgres dbname=wallet user=wallet_webhooks password='"+password+"' sslmode=disable", api["WALLET_WEBHOOK_DATABASE_URL"])
	require.Equal(t, services["webhooks"].Environment["WALLET_WEBHOOK_ALLOW_NETWORKS"], api["WALLET_WEBHOOK_ALLOW_NETWORKS"])
}

// TestTheTokenOfComposeIsTheOneInTheDocs looks for its hash in the file that the API reads.
func TestTheTokenOfComposeIsTheOneInTheDocs(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join(root, "docs", "install.md"))
	require.NoError(t, err)
	found := regexp.MustCompile(`8088/v1/\S+ -H 'Authorization: Bearer (\w+)'`).FindSubmatch(doc)
	require.NotNil(t, found)
	path, _, _ := strings.Cut(readCompose(t)["api"].Volumes[0], "}:")
	_, path, _ = strings.Cut(path, ":-")
	content, err := os.ReadFile(filepath.Join(root, path))
	require.NoError(t, err)
	var file struct{ Tokens []struct{ SHA256 string } }
	require.NoError(t, json.Unmarshal(content, &file))
	hash := sha256.Sum256(found[1])
	require.Equal(t, hex.EncodeToString(hash[:]), file.Tokens[0].SHA256)
}
