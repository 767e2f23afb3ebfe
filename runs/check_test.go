package runs_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/runs"
)

// readOnly connects to a database so that nothing can be written.
func readOnly(t *testing.T) *pgxpool.Pool {
	config := testenv.Pool(t, testenv.DatabaseURL(t)).Config()
	config.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on"
	db, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(db.Close)
	return db
}

// checked checks a file and lists "line reason" for those that fail.
func checked(t *testing.T, db *pgxpool.Pool, text string) (report runs.CheckReport, failed []string) {
	report, err := runs.Check{File: runs.File{ID: "r", Path: write(t, text)}, Failed: func(f runs.Failure) error {
		failed = append(failed, fmt.Sprint(f.Line, " ", f.Reason))
		return nil
	}}.Run(t.Context(), db)
	require.NoError(t, err)
	return report, failed
}

func TestACheckWritesNothing(t *testing.T) {
	report, failed := checked(t, readOnly(t), manyLines(2000)+"u1,USD,subtract,41\nu1,USD,subtract,0.001\nu1,USD,subtract,39\nu1,USD,mint,1\n")
	require.Equal(t, runs.CheckReport{Lines: 2004, Invalid: 1, Decided: true, Applied: 2001, Refused: 2}, report)
	require.Equal(t, []string{"2005 malformed", "2002 insufficient_funds", "2003 scale_exceeded"}, failed)
}

// TestACheckKnowsWhatTheLinesBeforeLeave reverses lines and uses their holds, in the same batch and in
// later ones.
func TestACheckKnowsWhatTheLinesBeforeLeave(t *testing.T) {
	much := strings.Repeat("u2,USD,add,1,,,\n", 1200)
	report, failed := checked(t, readOnly(t), "user_id,currency,type,amount,id,original_id,hold_id\n"+
		"u1,USD,reverse,,,a,\n"+ // 2: before its original
		"u1,USD,add,10,a,,\n"+
		"u1,USD,add,5,,,\n"+ // 4: under the id of its line
		"u1,USD,subtract,100,poor,,\n"+ // 5
		"u1,USD,reverse,4,,a,\n"+
		"u1,USD,hold,1,h,,\n"+
		"u1,USD,capture,,c,,h\n"+
		much+
		"u1,USD,capture,,,,h\n"+ // 1209: closed
		"u1,USD,reverse,7,,a,\n"+ // 1210: 6 are left
		"u1,USD,reverse,,part,a,\n"+
		"u1,USD,reverse,,,a,\n"+ // 1212: nothing is left
		"u1,USD,reverse,,,part,\n"+ // 1213: a reversal
		"u1,USD,reverse,,,poor,\n"+ // 1214
		"u1,USD,reverse,,,c,\n"+
		"u1,USD,reverse,,,_run/r/4,\n"+
		"u2,USD,reverse,,,a,\n"+ // 1217: of another wallet
		much+
		"u1,USD,subtract,0.01,,,\n"+ // 2418: the wallet is empty
		"u1,USD,add,10,a,,\n")
	require.Equal(t, []string{
		"2 original_not_found", "5 insufficient_funds", "1209 hold_closed", "1210 reversal_exceeded", "1212 reversal_exceeded", "1213 original_is_reversal",
		"1214 original_unapplied", "1217 original_not_found", "2418 insufficient_funds",
	}, failed)
	require.Equal(t, runs.CheckReport{Lines: 2418, Decided: true, Applied: 2409, Refused: 9, Replayed: 1}, report)
}

// TestACheckUsesUpGrantsAsTheLinesBeforeDo, in the same batch and in later ones.
func TestACheckUsesUpGrantsAsTheLinesBeforeDo(t *testing.T) {
	much := strings.Repeat("u2,USD,add,1,,,,,,\n", 1200)
	report, failed := checked(t, readOnly(t), "user_id,currency,type,amount,id,original_id,hold_id,expires_in,priority,return_expired\n"+
		"u1,USD,add,10,g,,,30d,,\n"+ // 2
		"u1,USD,add,5,first,,,,1,\n"+
		"u1,USD,subtract,7,s,,,,,\n"+ // 5 of first, 2 of g
		"u1,USD,reverse,6,,g,,,,\n"+
		"u1,USD,reverse,2.01,,g,,,,\n"+ // 6: 2 are left of it
		"u1,USD,hold,1,h,,,,,\n"+
		"u1,USD,reverse,2,,g,,,,\n"+ // 8: 1 is reserved
		much+
		"u1,USD,release,,,,h,,,\n"+ // 1209
		"u1,USD,reverse,2,,g,,,,\n"+
		"u1,USD,reverse,,,s,,,,\n"+ // 1211: gives 2 to g, 5 to first
		"u1,USD,reverse,5.01,,first,,,,\n"+ // 1212
		"u1,USD,reverse,,,first,,,,\n"+
		"u1,USD,reverse,,,g,,,,\n"+
		"u1,USD,subtract,0.01,,,,,,\n"+ // 1215: nothing is left
		"u1,USD,add,1,,,,,101,\n") // 1216
	require.Equal(t, []string{"1216 malformed", "6 insufficient_funds", "8 insufficient_funds", "1212 reversal_exceeded", "1215 insufficient_funds"}, failed)
	require.Equal(t, runs.CheckReport{Lines: 1215, Invalid: 1, Decided: true, Applied: 1210, Refused: 4}, report)
}
