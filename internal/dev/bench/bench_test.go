package bench

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/test/testenv"
)

// This does not test speed: a run of a third of a second shows that all parts work together and
// that the counts agree.
func TestEveryScenarioAndModeAppliesWhatItAccepts(t *testing.T) {
	specs, err := Choice{
		Scenarios: Scenarios, Modes: Modes, Clients: 6, Wallets: 5, PerCall: 20, SubtractPercent: 50, Duration: 300 * time.Millisecond,
	}.Specs()
	require.NoError(t, err)
	environment := environment(t)

	rows, err := Run(t.Context(), environment, Options{Specs: specs, Progress: silent{}})
	require.NoError(t, err)
	require.Len(t, rows, 3*(len(Modes)+4)+2*len(Modes)+2*3, "holds have no floors and no textbook, but plain subtractions; transfers have one floor and two modes")
	require.Empty(t, Violations(rows))
	for i, row := range rows {
		require.Equal(t, specs[i], row.Spec)
		require.Equal(t, row.Checked.Accepted, row.Checked.Applied+row.Checked.Refused, row.Spec)
		require.LessOrEqual(t, row.Commands, int64(row.Checked.Accepted), row.Spec)
		require.Equal(t, row.Mode != Floor, row.HistoryEventsPerCommand > 0, row.Spec)
		require.Equal(t, row.Mode == Signal, row.Signals != nil, row.Spec)
		require.Equal(t, row.Scenario == Holds, row.Ratios.ToPlain > 0, row.Spec)
		if row.Scenario == Holds {
			require.Zero(t, row.Checked.Refused, row.Spec)
		}
	}

	pool := testenv.Pool(t, environment.DatabaseURL)
	var leftovers int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_namespace WHERE nspname = 'wallet_bench'`).Scan(&leftovers))
	require.Zero(t, leftovers, "the floor's schema is dropped")

	requireReport(t, Report{Command: "wallet-dev bench", Rows: rows})
}

// requireReport checks each format of a report.
func requireReport(t *testing.T, report Report) {
	encoded, err := json.Marshal(report)
	require.NoError(t, err)
	var decoded Report
	require.NoError(t, json.Unmarshal(encoded, &decoded))
	require.Len(t, decoded.Rows, len(report.Rows))
	require.Contains(t, string(encoded), `"scenario":"hot","mode":"coalesced","clients":6,"wallets":1`)

	var text, markdown bytes.Buffer
	require.NoError(t, report.WriteText(&text))
	require.Contains(t, text.String(), "Temporal on sqlite")
	require.NoError(t, report.WriteMarkdown(&markdown, map[string]string{"sqlite": "plot.svg"}))
	require.Contains(t, markdown.String(), "| scenario | by |")
	require.Contains(t, markdown.String(), "(plot.svg)")

	svg, err := Plot(report.Rows)
	require.NoError(t, err)
	require.Contains(t, string(svg), "hot coalesced 6")
	for decoder := xml.NewDecoder(bytes.NewReader(svg)); ; {
		_, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
	}
}

func TestTransfersAreBetweenTwoWallets(t *testing.T) {
	for _, scenario := range []Scenario{Transfer, Collect} {
		source, pairs := newSource(Choice{Wallets: 4, Duration: time.Second}.spec(scenario, Lanes, 1, 1), 0), map[[2]int]int{}
		for range 1000 {
			r := source.next()
			require.NotEqual(t, r.wallet, r.to)
			require.Equal(t, 1, r.counts())
			pairs[[2]int{r.wallet, r.to}]++
		}
		if scenario == Collect {
			require.Equal(t, []int{0, 0, 0}, []int{pairs[[2]int{0, 1}], pairs[[2]int{1, 2}], pairs[[2]int{3, 2}]})
			require.Len(t, pairs, 3, "from each other wallet into the first")
		} else {
			require.Len(t, pairs, 12, "all pairs, in both directions")
		}
	}
}

func TestAChoiceRunsBesideTextbookAndFloors(t *testing.T) {
	specs, err := Choice{
		Scenarios: []Scenario{Hot}, Modes: []Mode{Update, Coalesced}, Clients: 512, Wallets: 64, PerCall: 500, Duration: time.Second,
	}.Specs()
	require.NoError(t, err)
	var names []string
	for _, spec := range specs {
		names = append(names, spec.String())
	}
	require.Equal(t, []string{
		"hot by floor, 32 clients",
		"hot by floor, 1 clients, 100 commands per call",
		"hot by floor, 1 clients, 500 commands per call",
		"hot by textbook, 8 clients",
		"hot by update, 8 clients",
		"hot by coalesced, 512 clients",
	}, names, "Temporal's limit of updates in flight is kept")
}

func TestABadChoiceIsRefused(t *testing.T) {
	good := Choice{Scenarios: []Scenario{Hot}, Modes: []Mode{Update}, Clients: 1, Wallets: 1, PerCall: 1, Duration: time.Second}
	for message, change := range map[string]func(*Choice){
		`scenario "cold" is unknown: use hot, spread, mixed, holds, transfer, collect`: func(c *Choice) { c.Scenarios = []Scenario{"cold"} },
		`mode "mail" is unknown: use signal, update, batch, coalesced, lanes`:          func(c *Choice) { c.Modes = []Mode{"mail"} },
		`scenario "collect" needs 2 wallets or more, got 1`:                            func(c *Choice) { c.Scenarios = []Scenario{Collect} },
		"have to be above 0":                  func(c *Choice) { c.Clients = 0 },
		"subtract 101% is not between 0% and": func(c *Choice) { c.SubtractPercent = 101 },
	} {
		choice := good
		change(&choice)
		_, err := choice.Specs()
		require.ErrorContains(t, err, message)
	}
}

func TestRatiosCompareWithTheNearestOfTheSameScenario(t *testing.T) {
	row := func(scenario Scenario, mode Mode, clients, perCall int, rate, p50 float64) Row {
		return Row{Spec: Spec{Scenario: scenario, Mode: mode, Clients: clients, Wallets: 1, PerCall: perCall}, CommandsPerSecond: rate, Latency: Latency{P50: p50}}
	}
	rows := []Row{
		row(Hot, Floor, 32, 1, 1000, 1),
		row(Hot, Floor, 1, 100, 20_000, 1),
		row(Hot, Floor, 1, 500, 40_000, 1),
		row(Hot, Textbook, 1, 1, 10, 100),
		row(Hot, Textbook, 8, 1, 20, 400),
		row(Hot, Update, 1, 1, 40, 25),
		row(Hot, Coalesced, 512, 1, 2000, 200),
		row(Spread, Coalesced, 32, 1, 500, 1),
		row(Mixed, Lanes, 64, 1, 1000, 1),
		row(Mixed, HTTP, 64, 1, 800, 1),
		row(Mixed, HTTP, 32, 1, 800, 1),
	}
	compare(rows)
	require.Equal(t, Ratios{ToTextbook: 4, P50ToTextbook: 0.25, ToFloor: 0.04, ToBatchedFloor: 0.001}, rows[5].Ratios)
	require.Equal(t, Ratios{ToTextbook: 100, P50ToTextbook: 0.5, ToFloor: 2, ToBatchedFloor: 0.05}, rows[6].Ratios)
	require.Equal(t, Ratios{}, rows[7].Ratios, "nothing of its scenario was run")
	require.Equal(t, Ratios{ToLanes: 0.8}, rows[9].Ratios)
	require.Equal(t, Ratios{}, rows[10].Ratios, "as many callers")
}
