-- +goose Up

-- The feed: one row each time events are appended to a wallet's trail. It gives all wallets'
-- events one order in which a consumer can keep its position. It is a separate table because
-- everything in an event is covered by the hash of its journal entry, and its position in the
-- feed is only known after that.
--
-- Ids are assigned in one order and can commit in another; package feed explains how a reader
-- still skips none. Within a wallet, ids follow the versions: a transaction that appends to a
-- trail waits, at its first row, for any other that is appending to it. The function that
-- appends events also writes their range; a trigger could not, where the events are distributed
-- and the feed is not.
CREATE TABLE wallet_feed (
    id            bigint GENERATED ALWAYS AS IDENTITY,
    user_id       text COLLATE "C" NOT NULL,
    currency      text COLLATE "C" NOT NULL,
    first_version bigint NOT NULL CHECK (first_version >= 1),
    last_version  bigint NOT NULL CHECK (last_version >= first_version),
    -- "wallet verify" and "wallet repair" check that each event of a wallet is in the feed. It has
    -- all columns that they read, so they read only the index.
    CONSTRAINT wallet_feed_of_wallet PRIMARY KEY (user_id, currency, first_version, last_version, id)
);
-- Unique, so that a sequence that falls behind fails loudly. "wallet migrate distribute" makes it
-- again without that: Citus has no key across users.
CREATE UNIQUE INDEX wallet_feed_order ON wallet_feed (id);
COMMENT ON TABLE wallet_feed IS 'The order of all wallets'' events: each row is a range of versions of one wallet asset. Append-only.';

CREATE TRIGGER append_only_rows     BEFORE UPDATE OR DELETE ON wallet_feed FOR EACH ROW       EXECUTE FUNCTION wallet_append_only();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE         ON wallet_feed FOR EACH STATEMENT EXECUTE FUNCTION wallet_append_only();
ALTER TABLE wallet_feed ENABLE ALWAYS TRIGGER append_only_rows;
ALTER TABLE wallet_feed ENABLE ALWAYS TRIGGER append_only_truncate;

-- Only the owner may INSERT into trail and feed. The service calls these two functions, which
-- run with the owner's rights and take only the names of wallets from the caller: they read
-- what they append from the journal.
--
-- They are the only statements of their transaction that touch a wallet's rows, because Citus
-- opens a connection for each role, and one does not see what another has not committed yet. So
-- the last version is read here, not by the caller.

-- Appends an event for each applied entry after the last event of its wallet, and their range
-- to the feed. Returns the last version of each wallet, in order. Pass several wallets sorted,
-- or two calls may deadlock.
--
-- It is planned once for each session: each lookup is LATERAL, so its plan is the same for one wallet as
-- for many, and planning it anew for a single command would cost as much as running it.

-- +goose StatementBegin
CREATE FUNCTION wallet_record_events(users text[], currencies text[]) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    -- The ranges need all events, so all are inserted before an id of the feed is taken.
    WITH appended AS (
        INSERT INTO wallet_asset_events
        SELECT entry.*
        FROM unnest(users, currencies) AS wanted (u, c)
        CROSS JOIN LATERAL (
            -- Not max(version): without statistics Postgres plans it as a scan of the whole trail.
            SELECT coalesce((SELECT version FROM wallet_asset_events
                WHERE user_id = wanted.u AND currency = wanted.c ORDER BY version DESC LIMIT 1), 0) AS recorded
            OFFSET 0) AS last
        CROSS JOIN LATERAL (
            SELECT *
            FROM wallet_entry_events
            WHERE user_id = wanted.u AND currency = wanted.c AND version > recorded
            ORDER BY version
            OFFSET 0) AS entry
        ON CONFLICT DO NOTHING
        RETURNING user_id, currency, version),
    numbered AS (
        SELECT user_id, currency, version, version - row_number() OVER (PARTITION BY user_id, currency ORDER BY version) AS range
        FROM appended)
    INSERT INTO wallet_feed (user_id, currency, first_version, last_version)
    SELECT user_id, currency, min(version), max(version)
    FROM numbered
    GROUP BY user_id, currency, range
    ORDER BY user_id, currency, range;

    RETURN QUERY
    SELECT coalesce((SELECT version FROM wallet_asset_events
        WHERE user_id = wanted.u AND currency = wanted.c ORDER BY version DESC LIMIT 1), 0)
    FROM unnest(users, currencies) AS wanted (u, c);
END
$$;
-- +goose StatementEnd

-- Appends the events that are missing anywhere in a wallet's trail, and ranges for events that
-- are in none. It reads the wallet's whole journal.

-- +goose StatementBegin
CREATE FUNCTION wallet_repair_events(of_user text, of_currency text, OUT events bigint, OUT ranges bigint)
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    last_event bigint;
BEGIN
    -- Two concurrent calls would append a range twice.
    PERFORM FROM wallet_assets WHERE user_id = of_user AND currency = of_currency FOR NO KEY UPDATE;

    INSERT INTO wallet_asset_events
    SELECT *
    FROM wallet_entry_events AS entry
    WHERE user_id = of_user AND currency = of_currency
        AND NOT EXISTS (SELECT FROM wallet_asset_events AS known
            WHERE known.user_id = entry.user_id AND known.currency = entry.currency AND known.version = entry.version)
    ORDER BY version
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS events = ROW_COUNT;

    last_event := (SELECT version FROM wallet_asset_events
        WHERE user_id = of_user AND currency = of_currency ORDER BY version DESC LIMIT 1);
    -- Now that no event is missing, events without a range are contiguous, except where another
    -- range covers some of them.
    INSERT INTO wallet_feed (user_id, currency, first_version, last_version)
    SELECT of_user, of_currency, min(version), max(version)
    FROM (
        SELECT version, version - row_number() OVER (ORDER BY version) AS run
        FROM (
            SELECT version
            FROM wallet_asset_events
            WHERE user_id = of_user AND currency = of_currency
            EXCEPT
            SELECT generate_series(first_version, least(last_version, last_event))
            FROM wallet_feed
            WHERE user_id = of_user AND currency = of_currency
        ) AS unseen
    ) AS runs
    GROUP BY run
    ORDER BY min(version);
    GET DIAGNOSTICS ranges = ROW_COUNT;
END
$$;
-- +goose StatementEnd

-- Who is writing to the feed on the nodes of a Citus cluster: "wallet migrate distribute" gives it
-- a body. Package feed says what it is for.
CREATE FUNCTION wallet_feed_node_writers() RETURNS SETOF text LANGUAGE sql STABLE AS $$ SELECT NULL::text LIMIT 0 $$;

CREATE TABLE wallet_feed_consumers (
    name       text COLLATE "C" PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 128),
    role       text   NOT NULL DEFAULT current_user,
    after_id   bigint NOT NULL,  -- the last handled row of the feed
    after_version bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE  wallet_feed_consumers      IS 'How far each consumer of the feed has come.';
COMMENT ON COLUMN wallet_feed_consumers.role IS 'who registered it; besides the owner of the tables, only this role and its members may move it';

-- Every consumer sees the others' rows, but moves only its own.
CREATE FUNCTION wallet_feed_is_own(role text) RETURNS boolean LANGUAGE sql STABLE
RETURN EXISTS (SELECT FROM pg_roles WHERE rolname = role AND pg_has_role(oid, 'USAGE'));

ALTER TABLE wallet_feed_consumers ENABLE ROW LEVEL SECURITY;
CREATE POLICY see ON wallet_feed_consumers FOR SELECT USING (true);
CREATE POLICY own ON wallet_feed_consumers FOR ALL    USING (wallet_feed_is_own(role));

-- A wallet whose event a consumer's handler fails for: its events wait from that one on,
-- those of other wallets do not. The events stay where they are; a row says where the
-- consumer goes on. Package feed says when a wallet gets a row and when it loses it.
CREATE TABLE wallet_feed_parked (
    consumer     text COLLATE "C" NOT NULL REFERENCES wallet_feed_consumers ON DELETE CASCADE,
    user_id      text COLLATE "C" NOT NULL,
    currency     text COLLATE "C" NOT NULL,
    from_id      bigint  NOT NULL,
    from_version bigint  NOT NULL,
    failures     integer NOT NULL CHECK (failures >= 0),
    parked       boolean NOT NULL,
    last_error   text    NOT NULL,
    since        timestamptz NOT NULL DEFAULT now(),
    retry_at     timestamptz NOT NULL,
    PRIMARY KEY (consumer, user_id, currency)
);
COMMENT ON TABLE  wallet_feed_parked              IS 'Wallets whose events wait for a consumer, because its handler fails for one of them.';
COMMENT ON COLUMN wallet_feed_parked.from_id      IS 'row of the feed where it stopped: what comes before it was handed out';
COMMENT ON COLUMN wallet_feed_parked.from_version IS 'the event that is handed out next';
COMMENT ON COLUMN wallet_feed_parked.failures     IS 'of that event, in a row';
COMMENT ON COLUMN wallet_feed_parked.parked       IS 'they are as many as the consumer allows: somebody has to look at it';

CREATE INDEX wallet_feed_parked_due ON wallet_feed_parked (consumer, retry_at);

-- What a person decided that a consumer is not handed.
CREATE TABLE wallet_feed_skipped (
    consumer   text COLLATE "C" NOT NULL REFERENCES wallet_feed_consumers ON DELETE CASCADE,
    user_id    text COLLATE "C" NOT NULL,
    currency   text COLLATE "C" NOT NULL,
    version    bigint NOT NULL,
    actor      text   NOT NULL CHECK (actor <> ''),
    reason     text   NOT NULL CHECK (reason <> ''),
    last_error text   NOT NULL DEFAULT '',
    role       text   NOT NULL DEFAULT current_user,
    skipped_at timestamptz NOT NULL DEFAULT now(),
    redeliver_at timestamptz,
    ended_at   timestamptz,
    PRIMARY KEY (consumer, user_id, currency, version)
);
COMMENT ON TABLE  wallet_feed_skipped            IS 'Events that a consumer is not handed, by whose decision and why.';
COMMENT ON COLUMN wallet_feed_skipped.last_error IS 'what it failed with last';
COMMENT ON COLUMN wallet_feed_skipped.redeliver_at   IS 'when it is to be handed out after all, once';
COMMENT ON COLUMN wallet_feed_skipped.ended_at   IS 'when that succeeded, or when the decision was taken back before it was the event''s turn';

CREATE INDEX wallet_feed_skipped_redeliver ON wallet_feed_skipped (consumer, redeliver_at) WHERE redeliver_at IS NOT NULL;

-- As for consumers: all may look, and only whose consumer it is may write.
CREATE FUNCTION wallet_feed_consumer_is_own(consumer text) RETURNS boolean LANGUAGE sql STABLE
RETURN EXISTS (SELECT FROM wallet_feed_consumers AS c WHERE c.name = consumer AND wallet_feed_is_own(c.role));

ALTER TABLE wallet_feed_parked ENABLE ROW LEVEL SECURITY;
CREATE POLICY see ON wallet_feed_parked FOR SELECT USING (true);
CREATE POLICY own ON wallet_feed_parked FOR ALL    USING (wallet_feed_consumer_is_own(consumer));

ALTER TABLE wallet_feed_skipped ENABLE ROW LEVEL SECURITY;
CREATE POLICY see ON wallet_feed_skipped FOR SELECT USING (true);
CREATE POLICY own ON wallet_feed_skipped FOR ALL    USING (wallet_feed_consumer_is_own(consumer));

-- The roles. They belong to the whole server, and so may be there from another
-- database. None can log in by itself: "wallet migrate up" lets wallet_app do so
-- when it is given a password; or grant them to roles of your own.
--   wallet_app       the worker: SELECT, INSERT into the journal, UPDATE of balances
--   wallet_reader    people and programs that read and verify: SELECT
--   wallet_consumer  a module that consumes the feed

-- +goose StatementBegin
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['wallet_app', 'wallet_reader', 'wallet_consumer'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            END IF;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL;  -- another database's migration created it first
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION 'role % is missing and % may not create it', role, current_user
                    USING ERRCODE = 'insufficient_privilege',
                    HINT = format('As an administrator: CREATE ROLE %I; then migrate again.', role);
        END;
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), role);
    END LOOP;

    -- Fix the search_path: otherwise a caller could make them call something else.
    EXECUTE format('ALTER FUNCTION wallet_record_events(text[], text[]) SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION wallet_repair_events(text, text)     SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION wallet_check_run_lines()             SET search_path = %I, pg_temp', current_schema());
END
$$;
-- +goose StatementEnd

REVOKE EXECUTE ON FUNCTION wallet_record_events, wallet_repair_events, wallet_check_run_lines FROM PUBLIC;
GRANT  EXECUTE ON FUNCTION wallet_record_events, wallet_repair_events TO wallet_app;

GRANT SELECT ON goose_db_version, currencies, wallets, wallet_assets, wallet_holds, wallet_grants, wallet_transactions, wallet_commands, wallet_asset_events, wallet_feed, wallet_feed_consumers, wallet_feed_parked, wallet_feed_skipped,
    wallet_runs, wallet_run_lines, wallet_run_parts, wallet_run_waiting, wallet_run_failures
    TO wallet_app, wallet_reader;

GRANT INSERT ON wallets, wallet_assets, wallet_holds, wallet_grants, wallet_transactions, wallet_commands TO wallet_app;
GRANT UPDATE (total_amount, hold_amount, version, position, hash, format, open_holds, next_expiry, open_grants, granted_amount, next_grant_expiry, frozen, debits_frozen_until, credits_frozen_until, closed, credit_limit, updated_at, thresholds) ON wallet_assets TO wallet_app;  -- this also allows the row lock
GRANT UPDATE (state, amount, captured, released, expires_at, updated_at, position, grants) ON wallet_holds TO wallet_app;
GRANT UPDATE (state, unused, held, used, expired, expiries, updated_at, position) ON wallet_grants TO wallet_app;
GRANT INSERT ON wallet_runs, wallet_run_lines, wallet_run_parts, wallet_run_waiting, wallet_run_failures TO wallet_app;
GRANT UPDATE (lines, skipped, sha256, state, updated_at) ON wallet_runs TO wallet_app;
GRANT UPDATE (done_line, saves, applied, refused, invalid, replayed, updated_at) ON wallet_run_parts TO wallet_app;
GRANT DELETE ON wallet_run_waiting TO wallet_app;

GRANT SELECT ON goose_db_version, currencies, wallet_asset_events, wallet_feed TO wallet_consumer;
GRANT SELECT, INSERT, DELETE ON wallet_feed_consumers TO wallet_consumer;
GRANT UPDATE (after_id, after_version, updated_at) ON wallet_feed_consumers TO wallet_consumer;
GRANT SELECT, INSERT, DELETE ON wallet_feed_parked TO wallet_consumer;
GRANT UPDATE (from_id, from_version, failures, parked, last_error, retry_at) ON wallet_feed_parked TO wallet_consumer;
GRANT SELECT, INSERT (consumer, user_id, currency, version, actor, reason, last_error), UPDATE (last_error, redeliver_at, ended_at) ON wallet_feed_skipped TO wallet_consumer;

