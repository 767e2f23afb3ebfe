package activities_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
)

// failEveryTenth has about every tenth statement of the service fail as if its transaction had lost a
// conflict with another one, by serialization (40001) or a deadlock (40P01) in turn. A policy's
// subquery is evaluated once for each statement that comes to a row.
func (s steps) failEveryTenth() {
	s.exec(`CREATE SEQUENCE statements`)
	s.exec(`CREATE SEQUENCE forced`)
	s.exec(`CREATE FUNCTION fail_every_tenth() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
			IF hashint8(nextval('statements')) % 10 = 0 THEN
				IF nextval('forced') % 2 = 0 THEN RAISE EXCEPTION 'forced' USING ERRCODE = '40001'; END IF;
				RAISE EXCEPTION 'forced' USING ERRCODE = '40P01';
			END IF;
			RETURN true;
		END $$`)
	for _, table := range []string{"wallets", "wallet_assets", "wallet_holds", "wallet_commands", "wallet_transactions", "wallet_runs", "wallet_run_parts", "wallet_run_lines", "wallet_run_waiting", "wallet_run_failures"} {
		s.exec(`ALTER TABLE ` + table + ` ENABLE ROW LEVEL SECURITY`)
		s.exec(`CREATE POLICY fails ON ` + table + ` USING ((SELECT fail_every_tenth())) WITH CHECK ((SELECT fail_every_tenth()))`)
	}
	s.exec(`CREATE FUNCTION fail_event() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM fail_every_tenth(); RETURN NULL; END $$`)
	s.exec(`CREATE TRIGGER fails AFTER INSERT ON wallet_asset_events FOR EACH STATEMENT EXECUTE FUNCTION fail_event()`)
}

// TestErrorsOfPostgresRefuseNothing sends commands, transactions, items of lanes and lines of a run while
// statements fail: each is applied once, or refused because of its wallet.
func TestErrorsOfPostgresRefuseNothing(t *testing.T) {
	s := newSteps(t)
	s.failEveryTenth()
	s.give("from", "40")
	for i := range 20 {
		require.Equal(t, wallet.StatusApplied, s.transaction(transfer(fmt.Sprint("t", i), "from", "to", "1")).Status)
	}
	require.Equal(t, wallet.ReasonInsufficientFunds, s.transaction(transfer("too much", "from", "to", "21")).Reason)
	for i := range 20 {
		transfers := s.laneTransactions(transfer(fmt.Sprint("l", i), "from", "to", "1"), transfer(fmt.Sprint("r", i), "from", "to", "100"))
		require.NotNil(t, transfers[0], "not returned")
		require.Equal(t, wallet.StatusApplied, transfers[0].Status)
		require.Equal(t, wallet.ReasonInsufficientFunds, transfers[1].Reason)
		results := s.lane(inUSD("to", hold(fmt.Sprint("h", i), "1", "1h")), inUSD("poor", subtract(fmt.Sprint("p", i), "1")))
		require.NotNil(t, results[0], "not returned")
		require.Equal(t, wallet.StatusApplied, results[0].Status)
		require.Equal(t, wallet.ReasonInsufficientFunds, results[1].Reason)
	}
	var lines []stagedLine
	for i := range 200 {
		lines = append(lines, inRun(fmt.Sprint("u", i%40), addOne))
	}
	s.stage("run", append(lines, inRun("poor", `{"type":"subtract","amount":"1"}`))...)
	require.Equal(t, [6]int64{201, 200, 1, 0, 0, 0}, counted(s.run("run")))
	require.Equal(t, []string{"201 refused poor _run/run/201 insufficient_funds"}, s.failures("run"))
	require.Equal(t, 40, s.count(`SELECT count(*) FROM wallet_assets WHERE total_amount = 5`))
	require.Equal(t, []string{"0.00", "40.00", "20.00"}, []string{s.balance("from").Total.String(), s.balance("to").Total.String(), s.balance("to").Hold.String()})
	require.Greater(t, s.count(`SELECT last_value::int FROM forced`), 50)
	s.verified()
}

// TestARunOverThousandsOfWalletsVerifies credits each wallet twice, some of them new.
func TestARunOverThousandsOfWalletsVerifies(t *testing.T) {
	s := newSteps(t)
	const wallets = 5000
	for i := range 10 {
		s.give(fmt.Sprint("u", i*7), "1")
	}
	var lines []stagedLine
	for i := range 2 * wallets {
		lines = append(lines, inRun(fmt.Sprint("u", i*7919%wallets), addOne))
	}
	s.stage("credit", lines...)
	require.Equal(t, [6]int64{2 * wallets, 2 * wallets, 0, 0, 0, 0}, counted(s.run("credit")))
	require.Equal(t, wallets-10, s.count(`SELECT count(*) FROM wallet_assets WHERE total_amount = 2`))
	require.Equal(t, 2*wallets+10, s.count(`SELECT sum(total_amount)::int FROM wallet_assets`))
	require.Zero(t, s.count(`SELECT deadlocks::int FROM pg_stat_database WHERE datname = current_database()`))
	s.verified()
}
