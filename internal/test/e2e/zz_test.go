package e2e

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/dev/devstack"
)

func TestZZForeign(t *testing.T) {
	callers, _ := strconv.Atoi(os.Getenv("CALLERS"))
	opts := devstack.Options{}
	if s := os.Getenv("SETTING"); s != "" {
		opts.TemporalSettings = []string{s}
	}
	w := newOwnWorld(t, opts)
	_, err := w.wallets.Add(t.Context(), w.change("before", "1"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second)
	defer cancel()
	var done, failed atomic.Int64
	var mu sync.Mutex
	var last, gap = time.Now(), time.Duration(0)
	var slowest time.Duration
	errs := map[string]int{}
	var g sync.WaitGroup
	for c := range callers {
		g.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				began := time.Now()
				h, err := w.temporal.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{WorkflowID: w.workflowID(), UpdateName: wallet.UpdateApply, Args: []any{add(fmt.Sprintf("c-%d-%d", c, i), "0.01")}, WaitForStage: client.WorkflowUpdateStageCompleted})
				if err == nil {
					err = h.Get(ctx, nil)
				}
				mu.Lock()
				if err != nil {
					failed.Add(1)
					e := err.Error()
					errs[e[:min(80, len(e))]]++
				} else {
					done.Add(1)
					if d := time.Since(last); d > gap {
						gap = d
					}
					last = time.Now()
					if d := time.Since(began); d > slowest {
						slowest = d
					}
				}
				mu.Unlock()
			}
		})
	}
	g.Wait()
	t.Log("callers", callers, "done", done.Load(), "failed", failed.Load(), "longest gap", gap, "slowest call", slowest, errs)
	w.logTaskFailures()
}
