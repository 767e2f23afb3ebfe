package activities_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
)

func TestARunThatIsNotRunningAppliesNothing(t *testing.T) {
	s := newSteps(t)
	_, err := s.BeginRun(t.Context(), wallet.RunInput{RunID: "none"})
	require.Equal(t, wallet.FailureInvalidCommand, failureType(err))
	require.ErrorContains(t, err, `no run "none" is staged`)
	s.stage("paused", inRun("u1", addOne), inRun("u2", addOne))
	_, err = s.tryPart("paused", 3)
	require.Equal(t, wallet.FailureInvalidCommand, failureType(err))
	require.Equal(t, wallet.RunRunning, s.begin("paused").Status.State)
	for _, state := range []wallet.RunState{wallet.RunPaused, wallet.RunCancelled} {
		_, err := s.SetRunState(t.Context(), wallet.SetRunStateInput{RunID: "paused", State: state})
		require.NoError(t, err)
		for _, part := range []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15} {
			if out, err := s.tryPart("paused", part); err == nil {
				require.False(t, out.Done)
				require.Zero(t, out.Status.Done())
			}
		}
	}
	_, err = s.BeginRun(t.Context(), wallet.RunInput{RunID: "paused"})
	require.ErrorContains(t, err, `was cancelled after 0 of 2 lines: "wallet run resume paused" continues it`)
	out, err := s.BeginRun(t.Context(), wallet.RunInput{RunID: "paused", Resume: true})
	require.NoError(t, err)
	require.Equal(t, wallet.RunRunning, out.Status.State)
	for _, part := range out.Parts {
		require.True(t, s.part("paused", part).Done)
	}
	require.Equal(t, "1.00", s.balance("u2").Total.String())
}

// TestAStepThatWasOvertakenAppliesNothing changes the run when a step has read its lines and is about
// to apply them.
func TestAStepThatWasOvertakenAppliesNothing(t *testing.T) {
	for name, change := range map[string]string{
		"cancelled":   `UPDATE wallet_runs SET state = 'cancelled' WHERE run_id = 'late'`,
		"paused":      `UPDATE wallet_runs SET state = 'paused' WHERE run_id = 'late'`,
		"another try": `UPDATE wallet_run_parts SET saves = saves + 1 WHERE run_id = 'late'`,
	} {
		for _, waiting := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", waiting ", waiting), func(t *testing.T) {
				s := newSteps(t)
				s.of("u1").apply(create("open"))
				s.of("u1").record()
				s.stage("late", inRun("u1", addOne))
				part := s.begin("late").Parts[0]
				if waiting { // and is tried again
					s.exec(`UPDATE wallet_run_parts SET done_line = 1`)
					s.exec(`INSERT INTO wallet_run_waiting SELECT run_id, part, line, user_id, currency FROM wallet_run_lines`)
				}
				tx, err := s.db.Begin(t.Context())
				require.NoError(t, err)
				defer func() { _ = tx.Rollback(context.Background()) }()
				_, err = tx.Exec(t.Context(), `SELECT FROM wallet_run_parts FOR NO KEY UPDATE`)
				require.NoError(t, err)
				step := make(chan error, 1)
				var out wallet.ApplyRunLinesOutput
				go func() {
					var err error
					out, err = s.ApplyRunLines(t.Context(), wallet.ApplyRunLinesInput{RunID: "late", Part: part})
					step <- err
				}()
				s.somebodyWaits()
				_, err = tx.Exec(t.Context(), change)
				require.NoError(t, err)
				require.NoError(t, tx.Commit(t.Context()))
				if err = <-step; name == "another try" {
					require.ErrorContains(t, err, "another attempt of this step has saved progress meanwhile")
				} else {
					require.NoError(t, err)
					require.Equal(t, []any{wallet.RunState(name), int64(0), false}, []any{out.Status.State, out.Status.Done(), out.Done})
				}
				require.Len(t, s.of("u1").journal(), 1)
			})
		}
	}
}

// TestAStateIsSetAfterWhatIsBeingApplied has a transaction that has locked a part, as one does that
// applies its lines.
func TestAStateIsSetAfterWhatIsBeingApplied(t *testing.T) {
	s := newSteps(t)
	s.stage("slow", inRun("u1", addOne))
	s.begin("slow")
	tx, err := s.db.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	_, err = tx.Exec(t.Context(), `SELECT FROM wallet_run_parts FOR NO KEY UPDATE`)
	require.NoError(t, err)
	set := make(chan error, 1)
	go func() {
		_, err := s.SetRunState(t.Context(), wallet.SetRunStateInput{RunID: "slow", State: wallet.RunCancelled})
		set <- err
	}()
	require.Eventually(t, func() bool { return s.waits() || len(set) > 0 }, time.Minute, time.Millisecond)
	require.Empty(t, set)
	require.NoError(t, tx.Commit(t.Context()))
	require.NoError(t, <-set)
}

func (s steps) waits() bool { return s.count(`SELECT count(*) FROM pg_locks WHERE NOT granted`) > 0 }

func (s steps) somebodyWaits() { require.Eventually(s.t, s.waits, time.Minute, time.Millisecond) }

// TestARunBeginsWithAllItsLines has another transaction add lines while the run begins: it
// counts them, or they are refused.
func TestARunBeginsWithAllItsLines(t *testing.T) {
	s := newSteps(t)
	s.stage("r", inRun("u1", addOne))
	tx, err := s.db.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	const more = `INSERT INTO wallet_run_lines (run_id, line, user_id, currency, command) VALUES ('r', $1, 'u2', 'USD', '` + addOne + `')`
	_, err = tx.Exec(t.Context(), more, 2)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = s.BeginRun(ctx, wallet.RunInput{RunID: "r"})
	require.ErrorContains(t, err, "another Postgres session holds a lock that this step needs")
	require.NoError(t, tx.Commit(t.Context()))
	require.Equal(t, [6]int64{2, 2, 0, 0, 0, 0}, counted(s.run("r")))
	_, err = s.db.Exec(t.Context(), more, 3)
	require.ErrorContains(t, err, "takes no lines")
}

// TestARunGoesOnAfterInvalidLines begins again when invalid lines that were staged by SQL are done.
func TestARunGoesOnAfterInvalidLines(t *testing.T) {
	s := newSteps(t)
	s.stage("r", inRun("u1", addOne), stagedLine{"u2", "NONE", addOne}, inRun("u3", addOne))
	for _, part := range s.begin("r").Parts {
		s.part("r", part)
		s.begin("r")
	}
	require.Equal(t, [6]int64{3, 2, 0, 1, 0, 0}, counted(s.run("r")))
}
