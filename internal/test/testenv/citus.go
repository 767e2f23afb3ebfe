package testenv

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet/migrations"
)

// envCitus has the servers of a Citus cluster that the tests are to run on instead of a Postgres of
// their own: URLs of their superuser for the database postgres, with the same port and address by
// which they reach each other, the coordinator's first. Databases of these servers whose names begin
// with "wallet_template" or "test_" are dropped.
const envCitus = "WALLET_TEST_CITUS"

// envAsOnCitus has the tests' databases look like the coordinator of a cluster without nodes.
const envAsOnCitus = "WALLET_TEST_AS_ON_CITUS"

// AsOnCitus runs tests on a Postgres that they take for one with Citus: with the statements and
// functions that are for it. It does not show that Citus can run them.
func AsOnCitus(t *testing.T, tests map[string]func(*testing.T)) {
	if len(citusServers()) > 0 {
		t.Skip("the tests run on Citus")
	}
	t.Setenv(envAsOnCitus, "1")
	for name, test := range tests {
		t.Run(name, test)
	}
}

// SkipOnCitus skips a test of what is only on plain Postgres, or of what a cluster lets no test do.
func SkipOnCitus(t testing.TB, why string) {
	if len(citusServers()) > 0 {
		t.Skip("on Citus: " + why)
	}
}

func asOnCitus(t testing.TB, url, name string) {
	Exec(t, url, "ALTER DATABASE "+name+" SET citus.version = '13'",
		// The functions that append events ask for it, and a transaction may not change a wallet as two roles.
		"CREATE FUNCTION citus_is_coordinator() RETURNS boolean LANGUAGE sql AS $$ SELECT set_config('testenv.owner', 'yes', true) = 'yes' $$",
		"CREATE FUNCTION testenv_one_role() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF current_setting('testenv.owner', true) = 'yes' THEN RAISE 'events were written in this transaction, by another role'; END IF; RETURN NULL; END $$",
		"CREATE TRIGGER testenv_one_role BEFORE INSERT OR UPDATE ON wallet_assets FOR EACH STATEMENT EXECUTE FUNCTION testenv_one_role()",
		"CREATE TRIGGER testenv_one_role BEFORE INSERT OR UPDATE ON wallet_holds FOR EACH STATEMENT EXECUTE FUNCTION testenv_one_role()",
		"CREATE TRIGGER testenv_one_role BEFORE INSERT OR UPDATE ON wallet_grants FOR EACH STATEMENT EXECUTE FUNCTION testenv_one_role()",
		"CREATE FUNCTION run_command_on_all_nodes(text) RETURNS TABLE (nodeid int, success boolean, result text) LANGUAGE sql AS 'SELECT 0, true, NULL::text LIMIT 0'",
		migrations.CitusFunctions)
}

func citusServers() []string { return strings.Fields(os.Getenv(envCitus)) }

// prepareCitus makes the template on all servers. A copy of it on each of them is a cluster too: what
// Citus knows is in the database, and it connects to the database of the same name on the others.
func prepareCitus(ctx context.Context, servers []string) error {
	for _, server := range servers {
		err := execOn(ctx, server, "DROP DATABASE IF EXISTS "+templateDatabase+" WITH (FORCE)", "CREATE DATABASE "+templateDatabase)
		if err == nil {
			err = execOn(ctx, inDatabase(server, templateDatabase), "CREATE EXTENSION citus")
		}
		if err != nil {
			return err
		}
	}
	var join []string
	for i, server := range servers {
		at, err := url.Parse(server)
		if err != nil {
			return err
		}
		call := "citus_add_node"
		if i == 0 {
			call = "citus_set_coordinator_host"
		}
		join = append(join, fmt.Sprintf("SELECT %s('%s', %s)", call, at.Hostname(), at.Port()))
	}
	template := inDatabase(servers[0], templateDatabase)
	if err := execOn(ctx, template, join...); err != nil {
		return err
	}
	if _, err := migrations.Up(ctx, template); err != nil {
		return err
	}
	if err := migrations.AllowLogin(ctx, template, migrations.RoleApp, AppPassword); err != nil {
		return err
	}
	// Tests take this role with SET ROLE, and Citus connects to the nodes as it.
	if err := execOn(ctx, template, "ALTER ROLE wallet_reader LOGIN"); err != nil {
		return err
	}
	if err := migrations.Distribute(ctx, template, false, func(migrations.Step) {}); err != nil {
		return err
	}
	// A database that somebody is connected to cannot be copied, and Citus is.
	for _, server := range servers {
		err := execOn(ctx, server, "ALTER DATABASE "+templateDatabase+" ALLOW_CONNECTIONS false",
			"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '"+templateDatabase+"'")
		if err != nil {
			return err
		}
	}
	return nil
}

func inDatabase(server, name string) string {
	return strings.Replace(server, "/postgres?", "/"+name+"?", 1)
}

func execOn(ctx context.Context, server string, statements ...string) error {
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}
