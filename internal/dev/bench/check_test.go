package bench

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// history is a wallet with an opening, an addition and a refused subtraction, both as a run
// accepts them and as the journal has them.
func history(t *testing.T) (accepted []*outcome, journal []wallet.Entry, asset wallet.Asset) {
	asset = wallet.Asset{UserID: "u1", Currency: currency, Scale: 2}
	for _, command := range []wallet.Command{
		wallet.AutoCreate(), opening(Hot),
		{ID: "c0-1", Type: wallet.TypeAdd, Amount: wallet.MustAmount("12.50")},
		{ID: "c0-2", Type: wallet.TypeSubtract, Amount: wallet.MustAmount("5000.00")},
	} {
		f, err := wallet.Fold(wallet.Account{Asset: asset}, nil, []wallet.Received{{Command: command}}, time.Now())
		require.NoError(t, err)
		asset, journal = f.Account.Asset, append(journal, f.Entries...)
		if command.Type != wallet.TypeCreate {
			accepted = append(accepted, &outcome{command: command, answered: true, result: f.Results[0]})
		}
	}
	return accepted, journal, asset
}

func TestTheCheckAcceptsWhatHolds(t *testing.T) {
	accepted, journal, asset := history(t)
	require.Equal(t, Checked{Accepted: 3, Applied: 2, Refused: 1}, checkWallet("u1", accepted, journal, asset))

	accepted[1].answered, accepted[1].result = false, wallet.Result{}
	require.Empty(t, checkWallet("u1", accepted, journal, asset).Violations, "a signal has no answer")

	accepted[2].result.Replayed = true
	require.Empty(t, checkWallet("u1", accepted, journal, asset).Violations, "Temporal carried a command twice, it counts once")
}

func TestTheCheckNamesWhatDoesNotHold(t *testing.T) {
	for name, row := range map[string]struct {
		tamper    func(accepted *[]*outcome, journal *[]wallet.Entry, asset *wallet.Asset)
		violation string
	}{
		"an accepted command is lost": {
			func(_ *[]*outcome, journal *[]wallet.Entry, _ *wallet.Asset) {
				*journal = slices.Delete(*journal, 2, 3)
			},
			`command "c0-1" was accepted, but is not recorded`,
		},
		"a command counts twice": {
			func(_ *[]*outcome, journal *[]wallet.Entry, _ *wallet.Asset) {
				*journal = append(*journal, (*journal)[2])
			},
			`command "c0-1" is recorded twice`,
		},
		"a command counts twice in the balance alone": {
			func(_ *[]*outcome, _ *[]wallet.Entry, asset *wallet.Asset) {
				asset.Total = asset.Total.Add(wallet.MustAmount("12.50"))
			},
			"the balance is 1025.00, what was applied makes 1012.50",
		},
		"a command counts that nobody sent": {
			func(accepted *[]*outcome, _ *[]wallet.Entry, _ *wallet.Asset) { *accepted = (*accepted)[:2] },
			`command "c0-2" is recorded, but nobody sent it`,
		},
		"another amount than was sent": {
			func(accepted *[]*outcome, _ *[]wallet.Entry, _ *wallet.Asset) {
				(*accepted)[1].command.Amount = wallet.MustAmount("12.51")
			},
			"command add 12.51 (c0-1) is recorded as add 12.50",
		},
		"another answer than is recorded": {
			func(accepted *[]*outcome, _ *[]wallet.Entry, _ *wallet.Asset) {
				(*accepted)[2].result.Status = wallet.StatusApplied
			},
			`command "c0-2" was answered with applied at position 4, and recorded as unapplied at position 4`,
		},
		"another balance in the answer": {
			func(accepted *[]*outcome, _ *[]wallet.Entry, _ *wallet.Asset) {
				(*accepted)[1].result.TotalAfter = wallet.MustAmount("1.00")
			},
			`command "c0-1" was answered with`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			accepted, journal, asset := history(t)
			row.tamper(&accepted, &journal, &asset)
			checked := checkWallet("u1", accepted, journal, asset)
			require.NotEmpty(t, checked.Violations)
			require.Contains(t, checked.Violations[0], row.violation)
			require.NotEmpty(t, Violations([]Row{{Checked: checked}}), "it fails the benchmark")
		})
	}
}

// The same on a real run: it compares what Temporal and Postgres have with what the callers
// believe.
func TestARunWhoseCommandIsLostOrDoubledFailsTheCheck(t *testing.T) {
	for _, mode := range []Mode{Coalesced, Floor} {
		t.Run(string(mode), func(t *testing.T) {
			ctx, environment := t.Context(), environment(t)
			b := &bench{environment: environment, options: Options{Progress: silent{}}, name: testenv.Unique(t, "bench"), queue: testenv.Unique(t, "queue")}
			b.pool = testenv.Pool(t, environment.DatabaseURL)
			worker, err := service.Start(ctx, service.Options{Temporal: environment.Temporal, Namespace: "default", Pool: b.pool, TaskQueue: b.queue, Logger: zap.NewNop()})
			require.NoError(t, err)
			defer worker.Stop()

			spec := Choice{Wallets: 2, SubtractPercent: 50, Duration: 100 * time.Millisecond}.spec(Spread, mode, 4, 1)
			target, err := b.target(ctx, 0, spec)
			require.NoError(t, err)
			defer target.close()
			measured, err := b.measure(ctx, 0, spec, target)
			require.NoError(t, err)
			violations := func(of accepted) []string {
				checked, err := target.check(context.Background(), of)
				require.NoError(t, err)
				return checked.Violations
			}
			require.Empty(t, violations(measured.accepted))
			require.Positive(t, measured.accepted.commands)
			require.Equal(t, mode == Floor, measured.accepted.outcomes == nil, "the floor's memory does not grow with its commands")

			lost := outcome{command: wallet.Command{ID: "lost", Type: wallet.TypeAdd, Amount: wallet.MustAmount("1.00")}}
			more, fewer := measured.accepted, measured.accepted
			more.add(lost, mode != Floor)
			require.NotEmpty(t, violations(more))
			fewer.commands--
			if mode != Floor {
				fewer.outcomes = fewer.outcomes[1:]
			}
			require.NotEmpty(t, violations(fewer), "one more counts than was sent")
		})
	}
}
