package migrations_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/service/postgres"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/migrations"
)

// onCoordinator are the tables that are not distributed: docs/decisions.md says why.
var onCoordinator = []string{"goose_db_version",
	"wallet_runs", "wallet_run_lines", "wallet_run_parts", "wallet_run_waiting", "wallet_run_failures",
	"wallet_feed_consumers", "wallet_feed_parked", "wallet_feed_skipped",
	"wallet_webhook_endpoints", "wallet_webhook_secrets", "wallet_webhook_queue", "wallet_webhook_events"}

func TestTheSchemaCanBeDistributed(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	query := func(sql string, args ...any) []string {
		found, err := db.Query(t.Context(), sql, args...)
		require.NoError(t, err)
		texts, err := pgx.CollectRows(found, pgx.RowTo[string])
		require.NoError(t, err)
		return texts
	}
	var tables, columns []string
	colocated := []string{}
	everywhere := []string{}
	for _, d := range migrations.Distributions {
		if d.Column == "" {
			everywhere = append(everywhere, d.Table)
			continue
		}
		tables, columns = append(tables, d.Table), append(columns, d.Column)
		if d.Column == "user_id" {
			colocated = append(colocated, d.Table)
		}
	}
	require.ElementsMatch(t, query(`SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace`),
		slices.Concat(tables, everywhere, onCoordinator), "decide where each table is")
	require.Equal(t, []string{"wallet_feed_order"}, query(`SELECT i.indexrelid::regclass::text
		FROM unnest($1::text[], $2::text[]) AS d (t, c)
		JOIN pg_index AS i ON i.indrelid = t::regclass
		JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attname = c
		WHERE (i.indisunique OR i.indisprimary OR i.indisexclusion) AND i.indkey[0] <> a.attnum`, tables, columns),
		"a key begins with the column by which its table is distributed; the order of the feed is made anew by Distribute")
	require.Empty(t, query(`SELECT format('%s.%s', t, a.attname)
		FROM unnest($1::text[]) AS t
		JOIN pg_index AS i ON i.indrelid = t::regclass AND (i.indisunique OR i.indisprimary)
		JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
		JOIN pg_collation AS c ON c.oid = a.attcollation
		WHERE c.collname <> 'C'`, slices.Concat(tables, everywhere)), "text of a key has COLLATE C")
	require.Empty(t, query(`SELECT format('%s of %s', tgname, t)
		FROM unnest($1::text[]) AS t
		JOIN pg_trigger ON tgrelid = t::regclass AND NOT tgisinternal
		WHERE tgnewtable IS NOT NULL OR tgoldtable IS NOT NULL
			OR tgtype & 1 = 0 AND tgtype & 32 = 0`, slices.Concat(tables, everywhere)), "no trigger of statements but against TRUNCATE: a shard has not all rows")
	require.Empty(t, query(`SELECT conname
		FROM pg_constraint
		WHERE contype = 'f' AND (conrelid::regclass::text = ANY ($1) OR confrelid::regclass::text = ANY ($1))
			AND NOT (conrelid::regclass::text = ANY ($1) AND (confrelid::regclass::text = ANY ($2)
				OR conrelid::regclass::text = ANY ($3) AND confrelid::regclass::text = ANY ($3)))`, tables, everywhere, colocated),
		"a foreign key is between tables of one user, or to one that each node has")
}

// Strings of SQL in Go.
var sqlText = regexp.MustCompile("(?s)`[^`]*`")

func TestStatementsAreOfOneUser(t *testing.T) {
	local := regexp.MustCompile(`\b(wallet_run|wallet_webhook|wallet_feed_(consumers|parked|skipped))`)
	var names []string
	for _, d := range migrations.Distributions {
		if d.Column != "" {
			names = append(names, d.Table)
		}
	}
	distributed := regexp.MustCompile(`\b(FROM|JOIN|INTO|UPDATE) (` + strings.Join(names, "|") + `)\b`)
	found := 0
	err := filepath.WalkDir("..", func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (strings.HasPrefix(entry.Name(), ".") && entry.Name() != ".." || slices.Contains([]string{"examples", "bin", "dev", "test", "tools"}, entry.Name())) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		require.NotContains(t, string(source), "23505", "%s: Citus reports a duplicate as XX000", path)
		for _, sql := range sqlText.FindAllString(string(source), -1) {
			if distributed.MatchString(sql) && local.MatchString(sql) {
				require.Contains(t, sql, "AS MATERIALIZED", "%s: Citus does not look up rows of a node for rows of the coordinator: read one and then the other:\n%s", path, sql)
			}
			if strings.Contains(sql, "FROM unnest(") && strings.Contains(sql, "LATERAL") && !local.MatchString(sql) {
				found++
				require.True(t, postgres.IsOneByOne(sql), "%s: Citus cannot look up rows for many wallets in one statement; unnest $1 and the others in FROM, so that it can be divided:\n%s", path, sql)
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, found, 10)
}

func TestPlainPostgresIsNotDistributed(t *testing.T) {
	err := migrations.Distribute(t.Context(), testenv.DatabaseURL(t), true, func(migrations.Step) { t.Error("a step") })
	require.ErrorIs(t, err, migrations.ErrNoCitus)
}
