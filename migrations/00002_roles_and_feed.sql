-- +goose Up

-- The feed: one row for each time that events were appended to a wallet's trail.
-- It gives all wallets' events one order that a consumer can keep its place in. It
-- is a table of its own because nothing in an event is left out of the hash of its
-- journal entry, and a place in the feed is known only after that.
--
-- Ids are given out in one order and can commit in another; package feed says how a
-- reader passes over none. Per wallet they are in the order of the versions: who
-- appends to a trail waits, at its first row, for whoever is appending to it.
CREATE TABLE wallet_feed (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id       text COLLATE "C" NOT NULL,
    currency      text COLLATE "C" NOT NULL,
    first_version bigint NOT NULL CHECK (first_version >= 1),
    last_version  bigint NOT NULL CHECK (last_version >= first_version)
);
COMMENT ON TABLE wallet_feed IS 'The order of all wallets'' events: each row is a range of versions of one wallet asset. Append-only.';

CREATE TRIGGER append_only_rows     BEFORE UPDATE OR DELETE ON wallet_feed FOR EACH ROW       EXECUTE FUNCTION wallet_append_only();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE         ON wallet_feed FOR EACH STATEMENT EXECUTE FUNCTION wallet_append_only();
ALTER TABLE wallet_feed ENABLE ALWAYS TRIGGER append_only_rows;
ALTER TABLE wallet_feed ENABLE ALWAYS TRIGGER append_only_truncate;

-- Whoever appends events, their place in the feed comes along, in the order of their
-- versions: each run without gaps as one row.

-- +goose StatementBegin
CREATE FUNCTION wallet_feed_append() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO wallet_feed (user_id, currency, first_version, last_version)
    SELECT user_id, currency, min(version), max(version)
    FROM (
        SELECT user_id, currency, version,
            version - row_number() OVER (PARTITION BY user_id, currency ORDER BY version) AS run
        FROM appended
    ) AS events
    GROUP BY user_id, currency, run
    ORDER BY user_id, currency, min(version);
    RETURN NULL;
END
$$;
-- +goose StatementEnd

-- Not ENABLE ALWAYS: where events arrive by replication, so does the feed.
CREATE TRIGGER feed AFTER INSERT ON wallet_asset_events
    REFERENCING NEW TABLE AS appended FOR EACH STATEMENT EXECUTE FUNCTION wallet_feed_append();

-- Events that are there already. CREATE TRIGGER has locked the table against others.
INSERT INTO wallet_feed (user_id, currency, first_version, last_version)
SELECT user_id, currency, min(version), max(version)
FROM (
    SELECT user_id, currency, version,
        version - row_number() OVER (PARTITION BY user_id, currency ORDER BY version) AS run
    FROM wallet_asset_events
) AS events
GROUP BY user_id, currency, run
ORDER BY user_id, currency, min(version);

-- For "wallet verify" and "wallet repair", which look whether each event of a wallet is
-- in the feed. All columns that they read, so that they read nothing but the index.
CREATE INDEX wallet_feed_of_wallet ON wallet_feed (user_id, currency, first_version, last_version);

CREATE TABLE wallet_feed_consumers (
    name          text COLLATE "C" PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 128),
    after_id      bigint NOT NULL,  -- the last event that was handled: its row of the feed
    after_version bigint NOT NULL,  -- and its version within that row
    updated_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE wallet_feed_consumers IS 'How far each consumer of the feed has come.';

-- The roles. They belong to the whole server, and so may be there from another
-- database. Neither can log in by itself: "wallet migrate up" lets wallet_app do so
-- when it is given a password; or grant them to roles of your own.
--   wallet_app       the worker, and who reads: SELECT, and INSERT where it appends
--   wallet_consumer  a module that consumes the feed

-- +goose StatementBegin
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['wallet_app', 'wallet_consumer'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            END IF;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL;  -- the migration of another database was faster
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION 'role % is missing and % may not create it', role, current_user
                    USING ERRCODE = 'insufficient_privilege',
                    HINT = format('As an administrator: CREATE ROLE %I; then migrate again.', role);
        END;
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), role);
    END LOOP;
END
$$;
-- +goose StatementEnd

GRANT SELECT ON goose_db_version, currencies, wallets, wallet_assets, wallet_commands, wallet_asset_events, wallet_feed, wallet_feed_consumers TO wallet_app;
GRANT INSERT ON wallets, wallet_assets, wallet_commands, wallet_asset_events, wallet_feed TO wallet_app;
GRANT UPDATE (total_amount, hold_amount, version, position, hash, updated_at) ON wallet_assets TO wallet_app;  -- and with it the row lock

GRANT SELECT ON goose_db_version, currencies, wallet_asset_events, wallet_feed TO wallet_consumer;
GRANT SELECT, INSERT, UPDATE, DELETE ON wallet_feed_consumers TO wallet_consumer;
