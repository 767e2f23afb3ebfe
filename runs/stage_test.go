package runs_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/runs"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func write(t *testing.T, text string) (path string) {
	path = filepath.Join(t.TempDir(), "lines.csv")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func count(t *testing.T, db *pgxpool.Pool, sql string) (n int) {
	require.NoError(t, db.QueryRow(t.Context(), sql).Scan(&n))
	return n
}

func manyLines(n int) string {
	var b strings.Builder
	b.WriteString("user_id,currency,type,amount\n")
	for i := range n {
		fmt.Fprintf(&b, "u%d,USD,add,1\n", i%50)
	}
	return b.String()
}

func TestAFileIsStagedWholeOrNotAtAll(t *testing.T) {
	db := testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t)))
	text := manyLines(5000)
	for name, bad := range map[string]string{
		"a line is no command":   text + "u1,USD,mint,1\n" + manyLines(10)[len("user_id,currency,type,amount\n"):],
		"no such currency":       text + "u1,NOPE,add,1\n",
		"it is not CSV any more": text + "u1,USD,\"add\n",
		"it has only a header":   "user_id,currency,type\n",
	} {
		_, err := runs.StageFile(t.Context(), db, runs.File{ID: "r", Path: write(t, bad)})
		require.Error(t, err, name)
		require.Zero(t, count(t, db, `SELECT (SELECT count(*) FROM wallet_runs) + (SELECT count(*) FROM wallet_run_lines) + (SELECT count(*) FROM wallet_run_failures)`), name)
	}
	path, read := write(t, text), &atomic.Int64{}
	status, err := runs.StageFile(t.Context(), db, runs.File{ID: "r", Path: path, Read: read})
	require.NoError(t, err)
	require.Equal(t, int64(len(text)), read.Load())
	require.Equal(t, wallet.Hash(sha256.Sum256([]byte(text))), status.SHA256)
	require.Equal(t, []any{int64(5000), wallet.RunStaged, "lines.csv"}, []any{status.Lines, status.State, status.File})
	require.Equal(t, 5000, count(t, db, `SELECT count(*) FROM wallet_run_lines WHERE line BETWEEN 2 AND 5001`))
	require.Equal(t, 50, count(t, db, `SELECT count(DISTINCT (user_id, part)) FROM wallet_run_lines`), "each wallet is in one part")
	list, err := runs.List(t.Context(), db, 10)
	require.NoError(t, err)
	require.Equal(t, []wallet.RunStatus{status}, list)
	_, err = runs.Status(t.Context(), db, "none")
	require.ErrorIs(t, err, runs.ErrNoRun)
}

func TestInvalidLinesAreNamedOrLeftOut(t *testing.T) {
	db := testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t)))
	path := write(t, manyLines(30)+strings.Repeat("u1,USD,add,x\n", 25)+"u1,USD,add,1\n")
	_, err := runs.StageFile(t.Context(), db, runs.File{ID: "r", Path: path})
	var invalid *runs.InvalidLinesError
	require.ErrorAs(t, err, &invalid)
	require.Equal(t, []int64{56, 25, 20}, []int64{invalid.Lines, invalid.Invalid, int64(len(invalid.First))})
	require.ErrorContains(t, err, "25 of the 56 lines of "+path+" are invalid")
	require.ErrorContains(t, err, "\n  line 32: amount")
	require.ErrorContains(t, err, "and 5 more")
	_, err = runs.StageFile(t.Context(), db, runs.File{ID: "r", Path: write(t, manyLines(1)+"u1,NOPE,add,1\n")})
	require.ErrorAs(t, err, &invalid)
	kept := &wallet.InvalidError{Reason: wallet.ReasonUnknownCurrency, Message: invalid.First[0].Err.Message}
	require.Equal(t, []runs.Line{{Number: 3, Err: kept}}, invalid.First, "what can be large is not kept in memory")
	status, err := runs.StageFile(t.Context(), db, runs.File{ID: "r", Path: path, SkipInvalid: true})
	require.NoError(t, err)
	require.Equal(t, []int64{56, 25, 31}, []int64{status.Lines, status.Invalid, int64(count(t, db, `SELECT count(*) FROM wallet_run_lines`))})
	lines := int64(32)
	for f, err := range runs.Failures(t.Context(), db, "r") {
		require.NoError(t, err)
		require.Equal(t, []any{lines, "invalid", wallet.ReasonMalformed}, []any{f.Line, f.Status, f.Reason})
		lines++
	}
	require.EqualValues(t, 57, lines)
}

// TestTwoFilesOfOneIDAtOnce has one of them staged, and compares the others with it.
func TestTwoFilesOfOneIDAtOnce(t *testing.T) {
	db := testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t)))
	paths := []string{write(t, manyLines(3000)), write(t, manyLines(3001))}
	var others atomic.Int64
	var starts errgroup.Group
	for i := range 8 {
		starts.Go(func() error {
			_, err := runs.StageFile(context.Background(), db, runs.File{ID: "r", Path: paths[i%2]})
			var other *runs.OtherFileError
			if err != nil {
				require.ErrorAs(t, err, &other)
				others.Add(1)
			}
			return nil
		})
	}
	require.NoError(t, starts.Wait())
	require.EqualValues(t, 4, others.Load())
	status, err := runs.Status(t.Context(), db, "r")
	require.NoError(t, err)
	require.EqualValues(t, status.Lines, count(t, db, `SELECT count(*) FROM wallet_run_lines`))
}

// TestLinesAreTakenOnlyWhileTheirRunIsStaged inserts lines apart from their run. Nobody would apply
// them, or they would be taken for lines of its file.
func TestLinesAreTakenOnlyWhileTheirRunIsStaged(t *testing.T) {
	url := testenv.DatabaseURL(t)
	owner, db := testenv.Pool(t, url), testenv.Pool(t, testenv.AppURL(t, url))
	_, err := runs.StageFile(t.Context(), db, runs.File{ID: "file", Path: write(t, manyLines(3))})
	require.NoError(t, err)
	for _, state := range []string{"staged", "running", "paused", "cancelled", "done"} {
		_, err := db.Exec(t.Context(), `INSERT INTO wallet_runs (run_id, state) VALUES ($1, $1)`, state)
		require.NoError(t, err)
	}
	const insert = `INSERT INTO wallet_run_lines (run_id, line, user_id, currency, command)
		SELECT unnest($1::text[]), $2, 'u1', 'USD', '{"type":"add","amount":"1"}'`
	for _, run := range []string{"none", "file", "running", "paused", "cancelled", "done", "a\x1b[2J\"b"} {
		for _, pool := range []*pgxpool.Pool{owner, db} {
			_, err := pool.Exec(t.Context(), insert, []string{"staged", run}, 100)
			require.ErrorContains(t, err, "takes no lines", run)
			require.NotContains(t, err.Error(), "\x1b")
			_, err = pool.CopyFrom(t.Context(), pgx.Identifier{"wallet_run_lines"}, []string{"run_id", "line", "user_id", "currency", "command"},
				pgx.CopyFromRows([][]any{{"staged", 100, "u1", "USD", `{}`}, {run, 100, "u1", "USD", `{}`}}))
			require.ErrorContains(t, err, "takes no lines", run)
		}
	}
	require.Equal(t, 3, count(t, db, `SELECT count(*) FROM wallet_run_lines`))
	for line := range 2 {
		_, err = db.Exec(t.Context(), insert, []string{"staged"}, line+1)
		require.NoError(t, err, "a run that was staged by SQL takes lines until it begins")
	}
	_, err = db.Exec(t.Context(), insert, []string{}, 1)
	require.NoError(t, err)
}

// TestAnotherModuleStagesBySQL has the rights that the guide names, and no others.
func TestAnotherModuleStagesBySQL(t *testing.T) {
	tx, err := testenv.Pool(t, testenv.DatabaseURL(t)).Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	for _, sql := range []string{
		`CREATE ROLE wallet_test_module`,
		`DO $$ BEGIN EXECUTE format('GRANT USAGE ON SCHEMA %I TO wallet_test_module', current_schema()); END $$`,
		`GRANT INSERT (run_id) ON wallet_runs TO wallet_test_module`,
		`GRANT INSERT (run_id, line, user_id, currency, command) ON wallet_run_lines TO wallet_test_module`,
		`SET LOCAL ROLE wallet_test_module`,
		`WITH run AS (INSERT INTO wallet_runs (run_id) VALUES ('r'))
			INSERT INTO wallet_run_lines (run_id, line, user_id, currency, command) VALUES ('r', 1, 'u1', 'USD', '{}'), ('r', 2, 'u1', 'USD', '{}')`,
	} {
		_, err := tx.Exec(t.Context(), sql)
		require.NoError(t, err, sql)
	}
}
