package devstack

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/types/known/durationpb"
)

//go:embed temporal_server.yaml
var temporalServerConfig string

//go:embed temporal_dynamic.yaml
var temporalDynamicConfig string

//go:embed temporal_ui.yaml
var temporalUIConfig string

// byName splits settings of the form "name=value".
func byName(settings []string) map[string]string {
	values := map[string]string{}
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, "=")
		values[name] = value
	}
	return values
}

// namespaceRetention is how long closed workflows are kept, the same as in the development
// server.
const namespaceRetention = 24 * time.Hour

// startTemporalOnPostgres starts temporal-server and the Web UI's server, with databases on the
// stack's Postgres. Their configuration is in dir and rewritten at each start.
func startTemporalOnPostgres(ctx context.Context, postgres *Postgres, dir string, ports temporalPorts, settings []string, tls *TLS) (*Temporal, error) {
	server, err := findProgram("temporal-server")
	if err != nil {
		return nil, err
	}
	ui, err := findProgram("temporal-ui-server")
	if err != nil {
		return nil, err
	}
	if err := setUpTemporalDatabases(ctx, postgres); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "config")
	if err := os.MkdirAll(config, 0o700); err != nil {
		return nil, err
	}
	dynamic := filepath.Join(config, "dynamic.yaml")
	values := map[string]any{
		"Dynamic": dynamic, "Settings": byName(settings),
		"Ports": ports, "Plugin": temporalPlugin, "Databases": temporalDatabases,
		"PostgresAddress": address(postgres.port), "User": postgresUser, "Password": postgres.pass,
		"TLS": tls,
	}
	for path, text := range map[string]string{
		filepath.Join(config, "server.yaml"): temporalServerConfig, filepath.Join(config, "ui.yaml"): temporalUIConfig, dynamic: temporalDynamicConfig,
	} {
		if err := writeTemplate(path, text, values); err != nil {
			return nil, err
		}
	}
	t := &Temporal{dir: dir, ports: ports, tls: tls, prepare: func(ctx context.Context) error { return forgetMembers(ctx, postgres) }}
	t.programs = []program{
		{name: "Temporal", path: server, log: "log", ready: t.servesNamespace,
			args: []string{"--root", "/", "--config", config, "--env", "server", "--allow-no-auth", "start"}},
		{name: "Temporal's Web UI", path: ui, log: "ui.log", ready: t.servesUI,
			args: []string{"--root", "/", "--config", config, "--env", "ui", "start"}},
	}
	return t, t.Start(ctx)
}

// writeTemplate writes a configuration file, which may contain a password.
func writeTemplate(path, text string, values any) error {
	parsed, err := template.New(filepath.Base(path)).Parse(text)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(parsed.Execute(file, values), file.Close())
}

// PProf is the address of the server's profiles; empty for the development server, which has
// none.
func (t *Temporal) PProf() string {
	if len(t.programs) == 1 {
		return ""
	}
	return "http://" + address(t.ports.PProf) + "/debug/pprof"
}

// servesNamespace creates the namespace and queries each service that a workflow needs: the
// frontend answers before the services behind it have found each other.
func (t *Temporal) servesNamespace(ctx context.Context) error {
	c, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	service := c.WorkflowService()
	_, err = service.RegisterNamespace(ctx, &workflowservice.RegisterNamespaceRequest{
		Namespace: client.DefaultNamespace, WorkflowExecutionRetentionPeriod: durationpb.New(namespaceRetention),
	})
	var exists *serviceerror.NamespaceAlreadyExists
	if err != nil && !errors.As(err, &exists) {
		return fmt.Errorf("register namespace: %w", err)
	}
	_, err = c.DescribeTaskQueue(ctx, "devstack-is-ready", 0) // matching
	if err != nil {
		return err
	}
	_, err = c.DescribeWorkflowExecution(ctx, "devstack-is-ready", "") // history
	var missing *serviceerror.NotFound
	if !errors.As(err, &missing) {
		return err
	}
	return nil
}

func (t *Temporal) servesUI(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.UI()+"/healthz", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", request.URL, response.Status)
	}
	return nil
}
