package devstack

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// temporalPlugin is Temporal's name for Postgres 12 and newer.
const temporalPlugin = "postgres12"

// temporalDatabases are the databases of Temporal's two stores.
var temporalDatabases = map[string]string{"default": "temporal", "visibility": "temporal_visibility"}

// temporalSchemas are the schemas embedded in temporal-sql-tool.
var temporalSchemas = map[string]string{
	"default":    "postgresql/v12/temporal",
	"visibility": "postgresql/v12/visibility",
}

// sqlIsComplete checks the mark that a database gets once its schema is complete: the tool
// cannot resume an interrupted setup.
const sqlIsComplete = `SELECT EXISTS (SELECT FROM pg_database
	WHERE datname = $1 AND shobj_description(oid, 'pg_database') = 'complete')`

// setUpTemporalDatabases creates Temporal's databases, or brings existing ones up to date.
func setUpTemporalDatabases(ctx context.Context, postgres *Postgres) error {
	tool, err := findProgram("temporal-sql-tool")
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, postgres.URL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for store, database := range temporalDatabases {
		var complete bool
		if err := conn.QueryRow(ctx, sqlIsComplete, database).Scan(&complete); err != nil {
			return err
		}
		if !complete {
			if _, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+database+" WITH (FORCE)"); err != nil {
				return err
			}
			if err := postgres.CreateDatabase(ctx, database); err != nil {
				return err
			}
			if err := runSQLTool(ctx, tool, postgres, database, "setup-schema", "--version", "0.0"); err != nil {
				return err
			}
		}
		if err := runSQLTool(ctx, tool, postgres, database, "update-schema", "--schema-name", temporalSchemas[store]); err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, "COMMENT ON DATABASE "+database+" IS 'complete'"); err != nil {
			return err
		}
	}
	return nil
}

// forgetMembers deletes the addresses of an earlier run's services, which a server would
// otherwise try to join for most of a minute. Nothing else uses this database.
func forgetMembers(ctx context.Context, postgres *Postgres) error {
	conn, err := pgx.Connect(ctx, postgres.URL(temporalDatabases["default"]))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, `DELETE FROM cluster_membership`)
	return err
}

func runSQLTool(ctx context.Context, tool string, postgres *Postgres, database string, args ...string) error {
	cmd := exec.CommandContext(ctx, tool, append([]string{
		"--endpoint", "127.0.0.1", "--port", strconv.Itoa(postgres.port), "--plugin", temporalPlugin,
		"--user", postgresUser, "--database", database}, args...)...)
	cmd.Env = append(os.Environ(), "SQL_PASSWORD="+postgres.pass)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("temporal-sql-tool %s of %s: %w: %s", args[0], database, err, lastLine(out))
	}
	return nil
}
