package workflows

import (
	"slices"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet"
)

// Metrics of a wallet, through the SDK's metrics handler, which counts nothing while a history
// is replayed. No label names a user.
const (
	MetricReceived = "wallet_commands_received"
	MetricAnswered = "wallet_commands_answered"
	MetricCommands = "wallet_commands"
	MetricQueue    = "wallet_queue_length"
	// MetricLostEntries counts wallets whose journal lacks entries that were answered.
	MetricLostEntries = "wallet_journal_entries_lost"
)

// countReceived counts commands that came by "signal" or "update". The queue is what was
// received minus what was answered, so both series must exist from the start.
func (w *walletAsset) countReceived(by string, commands int) {
	if commands > 0 {
		w.metrics.WithTags(map[string]string{"by": by}).Counter(MetricReceived).Inc(int64(commands))
		w.metrics.Counter(MetricAnswered).Inc(0)
		w.metrics.Counter(MetricLostEntries).Inc(0) // an alert needs the series before its first increase
	}
}

// countQueue records the length of the queue. The handler's only histogram is a timer; the
// worker's metrics know that these seconds are commands.
func (w *walletAsset) countQueue() {
	w.metrics.Timer(MetricQueue).Record(time.Duration(len(w.queue)) * time.Second)
}

// CountExpired counts holds that the service itself has closed.
func CountExpired(metrics client.MetricsHandler, holds int) {
	if holds > 0 {
		metrics.WithTags(map[string]string{
			"type": string(wallet.TypeExpire), "status": string(wallet.StatusApplied), "reason": "",
		}).Counter(MetricCommands).Inc(int64(holds))
	}
}

// countResults notes what became of commands. Those that were answered before are not
// counted as commands again.
func (w *walletAsset) countResults(results []wallet.Result) {
	w.metrics.Counter(MetricAnswered).Inc(int64(len(results)))
	countCommands(w.metrics, results)
}

// countLegs counts the commands of a transaction.
func countLegs(metrics client.MetricsHandler, legs []wallet.LegResult) {
	results := make([]wallet.Result, len(legs))
	for i, leg := range legs {
		results[i] = leg.Result
	}
	countCommands(metrics, results)
}

func countCommands(metrics client.MetricsHandler, results []wallet.Result) {
	type kind struct {
		command wallet.CommandType
		status  wallet.Status
		reason  wallet.Reason
	}
	var kinds []kind // few, whatever the size of the batch
	var counts []int64
	for _, r := range results {
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
		}).Counter(MetricCommands).Inc(counts[i])
	}
}
