package migrations

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/xdg-go/scram"
)

// The roles, each with the least privileges it needs.
const (
	RoleApp      = "wallet_app"      // workers
	RoleReader   = "wallet_reader"   // people and programs that read and verify
	RoleConsumer = "wallet_consumer" // modules that consume the feed
	RoleWebhooks = "wallet_webhooks" // what sends events by HTTP
)

// scramIterations is Postgres's own default.
const scramIterations = 4096

// AllowLogin lets one of the roles log in with a password. Postgres gets the verifier that it would
// store (pg_authid.rolpassword), never the password itself, which it might log.
func AllowLogin(ctx context.Context, databaseURL, role, password string) error {
	// Libraries disagree on how to normalize other characters: the role could not log in.
	if strings.ContainsFunc(password, func(r rune) bool { return r < ' ' || r > '~' }) {
		return fmt.Errorf("the password of %s has characters other than printable ASCII: choose another", role)
	}
	client, err := scram.SHA256.NewClient("", password, "")
	if err != nil {
		return fmt.Errorf("password of %s: %w", role, err)
	}
	salt := rand.Text()[:16]
	keys, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: salt, Iters: scramIterations})
	if err != nil {
		return fmt.Errorf("password of %s: %w", role, err)
	}
	encode := base64.StdEncoding.EncodeToString
	verifier := fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", scramIterations, encode([]byte(salt)), encode(keys.StoredKey), encode(keys.ServerKey))

	conn, err := connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = backoff.Retry(ctx, func() (pgconn.CommandTag, error) {
		// ALTER ROLE takes no parameters; the verifier consists of letters, digits and
		// "$:+/=-".
		tag, err := conn.Exec(ctx, `ALTER ROLE `+role+` LOGIN PASSWORD '`+verifier+`'`)
		var refused *pgconn.PgError
		if errors.As(err, &refused) && refused.Code != tupleConcurrentlyUpdated {
			return tag, backoff.Permanent(err)
		}
		return tag, err
	}, backoff.WithBackOff(backoff.NewConstantBackOff(50*time.Millisecond)), backoff.WithMaxTries(100))
	if err != nil {
		return fmt.Errorf("let %s log in (which takes a role that may create roles; otherwise set no password for it, and let it log in by your own means): %w", role, err)
	}
	return nil
}

// tupleConcurrentlyUpdated is the code of the internal error for one of two concurrent ALTER
// ROLEs: roles belong to the whole server, and its databases may be migrated at the same time.
const tupleConcurrentlyUpdated = "XX000"

// sqlRelations lists what a worker must be able to do to each table besides reading it.
const sqlRelations = `
	WITH relation (name, needed) AS (VALUES
		('currencies',            '{}'::text[]),
		('wallets',               '{INSERT}'),
		('wallet_assets',         '{INSERT, UPDATE}'),
		('wallet_commands',       '{INSERT}'),
		('wallet_transactions',   '{INSERT}'),
		('wallet_runs',           '{INSERT, UPDATE}'),
		('wallet_run_lines',      '{INSERT}'),
		('wallet_run_parts',      '{INSERT, UPDATE}'),
		('wallet_run_waiting',    '{INSERT, DELETE}'),
		('wallet_run_failures',   '{INSERT}'),
		('wallet_asset_events',   '{}'),
		('wallet_feed',           '{}'),
		('wallet_feed_consumers', '{}'),
		('wallet_feed_parked',    '{}'),
		('wallet_feed_skipped',   '{}'),
		('wallet_webhook_endpoints', '{}'),
		('wallet_webhook_queue',  '{}'),
		('wallet_webhook_events', '{}'),
		('goose_db_version',      '{}')
	)`

const sqlExcessRights = sqlRelations + `,
	superuser AS (
		SELECT FROM pg_roles WHERE rolname = current_user AND rolsuper
	)
	SELECT 'it is a superuser' FROM superuser
	UNION ALL
	SELECT excess FROM (
		SELECT 'it may create roles, replicate or bypass row security' AS excess
		FROM pg_roles
		WHERE rolname = current_user AND (rolcreaterole OR rolreplication OR rolbypassrls)
		UNION ALL
		SELECT format('it is a member of %s', rolname)
		FROM pg_roles
		WHERE pg_has_role(oid, 'MEMBER')
			AND (rolsuper OR rolname IN ('pg_execute_server_program', 'pg_write_server_files', 'pg_write_all_data'))
		UNION ALL
		SELECT format('it owns %s, or may become its owner', name)
		FROM (
			SELECT name, relowner FROM relation JOIN pg_class ON oid = name::regclass
			UNION ALL SELECT proname, proowner FROM pg_proc WHERE proname LIKE 'wallet\_%' AND pronamespace = current_schema()::regnamespace
			UNION ALL SELECT 'the schema', nspowner FROM pg_namespace WHERE oid = current_schema()::regnamespace
			UNION ALL SELECT 'the database', datdba FROM pg_database WHERE datname = current_database()
		) AS owned (name, owner)
		WHERE pg_has_role(owner, 'MEMBER')
		UNION ALL
		SELECT format('it may %s %s', privilege, name)
		FROM relation
		CROSS JOIN unnest('{INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER}'::text[]) AS privilege
		WHERE NOT privilege = ANY (needed)
			AND (has_table_privilege(name, privilege)
				OR privilege IN ('INSERT', 'UPDATE') AND has_any_column_privilege(name, privilege))
	) AS rights
	WHERE NOT EXISTS (SELECT FROM superuser)`

// Only some columns of a row are updated.
const sqlMissingRights = sqlRelations + `
	SELECT format('%s %s', privilege, name)
	FROM relation
	CROSS JOIN unnest('{SELECT}' || needed) AS privilege
	WHERE NOT CASE privilege WHEN 'UPDATE' THEN has_any_column_privilege(name, privilege) ELSE has_table_privilege(name, privilege) END`

// rowsQuerier is what the checks of rights need from a connection or pool.
type rowsQuerier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// MissingRights lists the rights that a worker's role lacks, for example "INSERT
// wallet_commands"; RoleApp has them all.
func MissingRights(ctx context.Context, db rowsQuerier) ([]string, error) {
	return queryTexts(ctx, db, sqlMissingRights)
}

// ExcessRights describes the rights that a worker's role has but does not need; RoleApp has
// none.
func ExcessRights(ctx context.Context, db rowsQuerier) ([]string, error) {
	return queryTexts(ctx, db, sqlExcessRights)
}

func queryTexts(ctx context.Context, db rowsQuerier, sql string) ([]string, error) {
	rows, err := db.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
