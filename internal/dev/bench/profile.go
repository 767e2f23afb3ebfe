package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"

	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
)

// profiles are the CPU profiles being taken of a run.
type profiles struct {
	client *os.File
	server errgroup.Group
}

// startProfiles profiles this process, and the Temporal server if it offers that, during a
// run's window. It does nothing unless asked to.
func (b *bench) startProfiles(ctx context.Context, n int, spec Spec) (p *profiles, err error) {
	if b.options.ProfileDir == "" {
		return nil, nil
	}
	base := b.profileBase(n, spec)
	p = &profiles{}
	if p.client, err = os.Create(base + ".client.pprof"); err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(p.client); err != nil {
		return nil, errors.Join(err, p.client.Close())
	}
	if b.environment.PProf != "" {
		seconds := max(1, int(spec.Duration.Seconds()))
		p.server.Go(func() error {
			return download(ctx, fmt.Sprintf("%s/profile?seconds=%d", b.environment.PProf, seconds), base+".temporal.pprof")
		})
	}
	return p, nil
}

// profileBase is the path of a run's profiles without their extensions.
func (b *bench) profileBase(n int, spec Spec) string {
	return filepath.Join(b.options.ProfileDir, fmt.Sprintf("%s-%02d-%s", b.environment.Store, n, spec.fileName()))
}

// writeCycle writes where the time of the first wallet, or lane, went, if profiles were requested and the
// target has workflows.
func (b *bench) writeCycle(ctx context.Context, n int, spec Spec, target target) error {
	w, ok := target.(*wallets)
	if b.options.ProfileDir == "" || !ok {
		return nil
	}
	id := wallet.WorkflowID(w.users[0], currency)
	if spec.Mode == Lanes {
		id = wallet.LaneWorkflowID(b.queue, 1)
	}
	y, err := cycleOf(ctx, b.environment.Temporal, id)
	if err != nil {
		return err
	}
	return y.write(b.profileBase(n, spec) + ".cycle.txt")
}

func (p *profiles) stop() error {
	if p == nil {
		return nil
	}
	pprof.StopCPUProfile()
	return errors.Join(p.client.Close(), p.server.Wait())
}

func download(ctx context.Context, url, path string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, response.Status)
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, response.Body)
	return errors.Join(err, file.Close())
}
