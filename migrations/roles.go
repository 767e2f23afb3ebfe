package migrations

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/xdg-go/scram"
)

// RoleApp is the role of the worker and of readers, with the least privileges that
// these need.
const RoleApp = "wallet_app"

// scramIterations is Postgres's own default.
const scramIterations = 4096

// AllowLogin lets RoleApp log in with a password. Postgres is given what it would
// store (pg_authid.rolpassword), never the password itself, which it might log.
func AllowLogin(ctx context.Context, databaseURL, password string) error {
	client, err := scram.SHA256.NewClient("", password, "")
	if err != nil {
		return fmt.Errorf("password of %s: %w", RoleApp, err)
	}
	salt := rand.Text()[:16]
	keys, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: salt, Iters: scramIterations})
	if err != nil {
		return fmt.Errorf("password of %s: %w", RoleApp, err)
	}
	encode := base64.StdEncoding.EncodeToString
	verifier := fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", scramIterations, encode([]byte(salt)), encode(keys.StoredKey), encode(keys.ServerKey))

	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	// ALTER ROLE takes no parameters; the verifier is of letters, digits and "$:+/=-".
	if _, err := conn.Exec(ctx, `ALTER ROLE `+RoleApp+` LOGIN PASSWORD '`+verifier+`'`); err != nil {
		return fmt.Errorf("let %s log in: %w", RoleApp, err)
	}
	return nil
}

const sqlExcessRights = `
	SELECT 'it is a superuser' FROM pg_roles WHERE rolname = current_user AND rolsuper
	UNION ALL
	SELECT format('it owns %s, and so could switch its triggers off', relname)
	FROM pg_class
	WHERE oid IN ('wallet_commands'::regclass, 'wallet_asset_events'::regclass, 'wallet_feed'::regclass)
		AND pg_has_role(relowner, 'USAGE')
		AND NOT EXISTS (SELECT FROM pg_roles WHERE rolname = current_user AND rolsuper)
	UNION ALL
	SELECT format('it may %s %s', privilege, relation)
	FROM (VALUES ('wallet_commands'), ('wallet_asset_events'), ('wallet_feed'), ('currencies')) AS t (relation)
	CROSS JOIN (VALUES ('UPDATE'), ('DELETE'), ('TRUNCATE')) AS p (privilege)
	WHERE has_table_privilege(relation, privilege)
		AND NOT pg_has_role((SELECT relowner FROM pg_class WHERE oid = relation::regclass), 'USAGE')`

// ExcessRights says in words which rights a worker's role has that it does not
// need; with RoleApp there are none.
func ExcessRights(ctx context.Context, db interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}) ([]string, error) {
	rows, err := db.Query(ctx, sqlExcessRights)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
