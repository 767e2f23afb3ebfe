package migrations

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// CitusFunctions are the functions of the schema as Citus can run them.
//
//go:embed citus/functions.sql
var CitusFunctions string

// ErrNoCitus says that a database cannot be distributed.
var ErrNoCitus = errors.New("this database has no Citus, and plain Postgres needs none of this: on the coordinator and on each node run CREATE EXTENSION citus in the wallet's database, then citus_add_node on the coordinator")

// oldestCitus is the oldest major version that Distribute accepts.
const oldestCitus = 13

// Distribution is how a table is distributed. One without any stays on the coordinator.
type Distribution struct{ Table, Column, colocateWith string }

// Distributions are in the order in which foreign keys need them. Without a column it is a reference
// table, which each node has.
var Distributions = []Distribution{
	{"currencies", "", ""},
	{"wallets", "user_id", "none"},
	{"wallet_assets", "user_id", "wallets"},
	{"wallet_commands", "user_id", "wallets"},
	{"wallet_asset_events", "user_id", "wallets"},
	{"wallet_feed", "user_id", "wallets"},
	{"wallet_holds", "user_id", "wallets"},
	{"wallet_grants", "user_id", "wallets"},
	{"wallet_transactions", "transaction_id", "none"},
}

const sqlOrderWithoutKey = `DROP INDEX wallet_feed_order; CREATE INDEX wallet_feed_order ON wallet_feed (id)`

// Step is a change that Distribute makes.
type Step struct {
	What string `json:"what"`
	sql  string
}

// Distribute distributes the tables over the nodes of a Citus cluster by user. The database must be
// the coordinator's, and migrated. It calls did after each step, or only lists the steps if dryRun
// is true. It can be repeated: what is done is left out, except that the functions are made again.
func Distribute(ctx context.Context, databaseURL string, dryRun bool, did func(Step)) error {
	conn, err := connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if err := errors.Join(checkCitus(ctx, conn), Check(ctx, conn)); err != nil {
		return err
	}
	steps, err := stepsToDistribute(ctx, conn)
	if err != nil {
		return err
	}
	// Triggers on a distributed table count as unsafe: these refuse a change, on each node by itself.
	// Tables that stay on the coordinator may have foreign keys to currencies until they are
	// distributed themselves.
	for _, setting := range []string{`SET citus.enable_unsafe_triggers = on`, `SET citus.enable_local_reference_table_foreign_keys = off`} {
		if _, err := conn.Exec(ctx, setting); err != nil {
			return err
		}
	}
	for _, step := range steps {
		if !dryRun {
			if _, err := conn.Exec(ctx, step.sql, pgx.QueryExecModeSimpleProtocol); err != nil {
				return fmt.Errorf("%s: %w", step.What, err)
			}
		}
		did(step)
	}
	return nil
}

func checkCitus(ctx context.Context, conn *pgx.Conn) error {
	var version string
	err := conn.QueryRow(ctx, `SELECT extversion FROM pg_extension WHERE extname = 'citus'`).Scan(&version)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNoCitus
	} else if err != nil {
		return err
	}
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err != nil || n < oldestCitus {
		return fmt.Errorf("this is Citus %s: use Citus %d or newer", version, oldestCitus)
	}
	var coordinator bool
	var nodes int
	if err := conn.QueryRow(ctx, `SELECT citus_is_coordinator(), (SELECT count(*) FROM pg_dist_node WHERE isactive AND shouldhaveshards AND noderole = 'primary')`).Scan(&coordinator, &nodes); err != nil {
		return err
	}
	switch {
	case !coordinator:
		return errors.New("this is not the coordinator of the cluster: name its address in the URL")
	case nodes == 0:
		return errors.New("the cluster has no node for the tables: add some with citus_add_node")
	}
	return checkNodes(ctx, conn)
}

// sqlNodeSettings are those that a node may have wrong.
const sqlNodeSettings = `SELECT n.nodename || ':' || n.nodeport, r.success, r.result
	FROM run_command_on_all_nodes($$SELECT current_setting('max_prepared_transactions') || ' ' || current_setting('synchronous_commit') || ' ' || current_setting('server_encoding')$$) AS r
	JOIN pg_dist_node AS n USING (nodeid)
	ORDER BY nodeid`

func checkNodes(ctx context.Context, conn *pgx.Conn) error {
	found, err := conn.Query(ctx, sqlNodeSettings)
	if err != nil {
		return err
	}
	var node, result string
	var reached bool
	var wrong []error
	_, err = pgx.ForEachRow(found, []any{&node, &reached, &result}, func() error {
		settings := strings.Fields(result)
		switch {
		case !reached:
			wrong = append(wrong, fmt.Errorf("the node %s does not answer: %s", node, result))
		case len(settings) != 3:
			wrong = append(wrong, fmt.Errorf("the node %s gives its settings as %q", node, result))
		default:
			if settings[0] == "0" {
				wrong = append(wrong, fmt.Errorf("the node %s has max_prepared_transactions = 0, and transactions over two nodes need them: set it to at least max_connections", node))
			}
			if settings[1] == "off" {
				wrong = append(wrong, fmt.Errorf("the node %s has synchronous_commit = off, so an answer could be lost: set it to on", node))
			}
			if settings[2] != "UTF8" {
				wrong = append(wrong, fmt.Errorf("the node %s: %w (its encoding is %s)", node, ErrEncoding, settings[2]))
			}
		}
		return nil
	})
	return errors.Join(append(wrong, err)...)
}

func stepsToDistribute(ctx context.Context, conn *pgx.Conn) ([]Step, error) {
	found, err := conn.Query(ctx, `SELECT logicalrelid::text FROM pg_dist_partition`)
	if err != nil {
		return nil, err
	}
	done, err := pgx.CollectRows(found, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	var steps []Step
	for _, d := range Distributions {
		if slices.Contains(done, d.Table) {
			continue
		}
		if d.Table == "wallet_feed" {
			steps = append(steps, Step{"index wallet_feed_order: no longer unique", sqlOrderWithoutKey})
		}
		if d.Column == "" {
			steps = append(steps, Step{d.Table + ": a copy on each node", fmt.Sprintf(`SELECT create_reference_table('%s')`, d.Table)})
			continue
		}
		steps = append(steps, Step{d.Table + ": distributed by " + d.Column, fmt.Sprintf(`SELECT create_distributed_table('%s', '%s', colocate_with => '%s')`, d.Table, d.Column, d.colocateWith)})
	}
	return append(steps, Step{"functions that record and repair events, and that find writers of the feed", CitusFunctions}), nil
}
