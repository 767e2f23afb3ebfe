package workflows

import (
	"time"

	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/counts"
)

// Metrics of a wallet, through the SDK's metrics handler, which counts nothing while a history
// is replayed. No label names a user.
const (
	MetricReceived = "wallet_commands_received"
	MetricAnswered = "wallet_commands_answered"
	MetricCommands = counts.Metric
	MetricQueue    = "wallet_queue_length"
	// MetricLostEntries counts wallets whose journal lacks entries that were answered.
	MetricLostEntries = "wallet_journal_entries_lost"
)

func (w *walletAsset) countReceived(by string, commands int) {
	countReceived(w.metrics, by, commands)
}

// countReceived counts commands that came by "signal", "update" or "lane". The queue is what was
// received minus what was answered, so both series must exist from the start.
func countReceived(metrics client.MetricsHandler, by string, commands int) {
	if commands > 0 {
		metrics.WithTags(map[string]string{"by": by}).Counter(MetricReceived).Inc(int64(commands))
		metrics.Counter(MetricAnswered).Inc(0)
		metrics.Counter(MetricLostEntries).Inc(0) // an alert needs the series before its first increase
	}
}

// countQueue records the length of the queue. The handler's only histogram is a timer; the
// worker's metrics know that these seconds are commands.
func (w *walletAsset) countQueue() {
	w.metrics.Timer(MetricQueue).Record(time.Duration(len(w.queue)) * time.Second)
}

// countResults counts commands that were answered.
func (w *walletAsset) countResults(results []wallet.Result) {
	w.metrics.Counter(MetricAnswered).Inc(int64(len(results)))
	counts.Results(w.metrics, results)
}
