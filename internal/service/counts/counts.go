// Package counts counts what became of commands, for workflows and activities.
package counts

import (
	"slices"

	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet"
)

// Metric is the name of the counter. No label names a user.
const Metric = "wallet_commands"

// MetricCrossed is the name of the counter of thresholds that commands crossed.
const MetricCrossed = "wallet_thresholds_crossed"

// crossed counts thresholds by which way they were crossed.
func crossed(metrics client.MetricsHandler, results []wallet.Result) {
	var below, above int64
	for _, r := range results {
		if r.Replayed {
			continue
		}
		for _, c := range r.Crossed.List() {
			if c.Direction == wallet.Below {
				below++
			} else {
				above++
			}
		}
	}
	count := func(direction wallet.Direction, n int64) {
		if n > 0 {
			metrics.WithTags(map[string]string{"direction": string(direction)}).Counter(MetricCrossed).Inc(n)
		}
	}
	count(wallet.Below, below)
	count(wallet.Above, above)
}

// Results counts commands by what became of them. Those that were answered before are not counted
// again.
func Results(metrics client.MetricsHandler, results []wallet.Result) {
	crossed(metrics, results)
	type kind struct {
		command wallet.CommandType
		status  wallet.Status
		reason  wallet.Reason
	}
	var kinds []kind // few, whatever the size of the batch
	var counts []int64
	for i := range results {
		r := &results[i]
		if r.Replayed {
			continue
		}
		k := kind{r.Type, r.Status, r.Reason}
		i := slices.Index(kinds, k)
		if i < 0 {
			i, kinds, counts = len(kinds), append(kinds, k), append(counts, 0)
		}
		counts[i]++
	}
	for i, k := range kinds {
		metrics.WithTags(map[string]string{
			"type": string(k.command), "status": string(k.status), "reason": string(k.reason),
		}).Counter(Metric).Inc(counts[i])
	}
}

// MetricRunLines is the name of the counter of runs' lines.
const MetricRunLines = "wallet_run_lines"

// RunLines counts lines of runs by what became of them: applied, refused or invalid.
func RunLines(metrics client.MetricsHandler, outcome string, lines int64) {
	if lines > 0 {
		metrics.WithTags(map[string]string{"outcome": outcome}).Counter(MetricRunLines).Inc(lines)
	}
}

// Expired counts holds that the service itself has closed.
func Expired(metrics client.MetricsHandler, holds int) {
	if holds > 0 {
		metrics.WithTags(map[string]string{
			"type": string(wallet.TypeExpire), "status": string(wallet.StatusApplied), "reason": "",
		}).Counter(Metric).Inc(int64(holds))
	}
}

// ExpiredGrants counts expiries of grants, which the service itself records.
func ExpiredGrants(metrics client.MetricsHandler, expiries int) {
	if expiries > 0 {
		metrics.WithTags(map[string]string{
			"type": string(wallet.TypeExpireGrant), "status": string(wallet.StatusApplied), "reason": "",
		}).Counter(Metric).Inc(int64(expiries))
	}
}
