package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/service/access"
)

// services are "wallet serve" and "wallet webhook run", each in its own process, as in production.
type services struct {
	processes []serviceProcess // in this order
	apiURL    string
	token     string // of the API, which may do everything
}

type serviceProcess struct {
	*devstack.Process
	probes string // URL
	log    string // path
}

// localReceivers is where webhooks may go here besides the Internet.
const localReceivers = "127.0.0.0/8"

const allowNetworksSetting = "WALLET_WEBHOOK_ALLOW_NETWORKS"

// startServices starts both and waits until they are ready.
func (l *local) startServices(ctx context.Context) (err error) {
	ports, err := devstack.FreePorts(3)
	if err != nil {
		return err
	}
	api := fmt.Sprintf("127.0.0.1:%d", cmp.Or(l.options.apiPort, ports[0]))
	l.apiURL = "http://" + api
	dir := filepath.Join(l.options.stack.Dir, "api")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tokens := filepath.Join(dir, "tokens.json")
	if l.token, err = access.WriteTokensFile(tokens, access.StaticToken{
		Subject: "dev", Scopes: []access.Scope{access.Read, access.Write, access.Admin}, Users: []string{access.Everyone},
	}); err != nil {
		return err
	}
	for i, part := range []struct {
		name     string
		database string
		args     []string
	}{
		{"wallet serve", l.databaseURL, []string{"serve", "--listen", api, "--tokens-file", tokens}},
		{"wallet webhook run", l.webhooksURL, []string{"webhook", "run"}},
	} {
		probes, log := fmt.Sprintf("127.0.0.1:%d", ports[1+i]), filepath.Join(dir, strings.ReplaceAll(part.name, " ", "-")+".log")
		cmd := exec.Command(l.program, append(part.args, "--http-address", probes)...)
		cmd.Env = append(withoutSettings(os.Environ()), "WALLET_DATABASE_URL="+part.database, "WALLET_TASK_QUEUE="+l.options.taskQueue,
			"WALLET_WEBHOOK_DATABASE_URL="+l.webhooksURL, allowNetworksSetting+"="+localReceivers, // serve changes endpoints
			"TEMPORAL_ADDRESS="+l.stack.Temporal.Address(), "TEMPORAL_NAMESPACE="+client.DefaultNamespace, "TEMPORAL_CONFIG_FILE="+os.DevNull)
		process, err := devstack.StartProcess(part.name, cmd, log)
		if err != nil {
			return err
		}
		l.processes = append(l.processes, serviceProcess{process, "http://" + probes, log})
	}
	for _, process := range l.processes {
		if err := process.Await(ctx, func(ctx context.Context) error { return checkReady(ctx, process.probes) }); err != nil {
			return err
		}
	}
	return nil
}

func (s *services) stop() error {
	var errs []error
	for _, process := range s.processes {
		errs = append(errs, process.Stop(syscall.SIGTERM, 30*time.Second)) // it finishes requests first
	}
	return errors.Join(errs...)
}

func checkReady(ctx context.Context, probes string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, probes+"/readyz", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	return nil
}

// withoutSettings leaves out what would lead the processes to other servers than the worker, and
// keeps the payloads' keys, which it has too.
func withoutSettings(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(variable string) bool {
		return strings.HasPrefix(variable, "TEMPORAL_") || strings.HasPrefix(variable, "WALLET_") && !strings.HasPrefix(variable, codec.Setting+"=")
	})
}
