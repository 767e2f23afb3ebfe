-- +goose Up

-- The feed: one row for each time that events were appended to a wallet's trail.
-- It gives all wallets' events one order that a consumer can keep its place in. It
-- is a table of its own because nothing in an event is left out of the hash of its
-- journal entry, and a place in the feed is known only after that.
--
-- Ids are given out in one order and can commit in another; package feed says how a
-- reader passes over none. Per wallet they are in the order of the versions: who
-- appends to a trail waits, at its first row, for whoever is appending to it. The
-- step that appends events writes their range in the same transaction; a trigger
-- could not, where the events are distributed and the feed is not.
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

GRANT SELECT ON goose_db_version, currencies, wallets, wallet_assets, wallet_holds, wallet_commands, wallet_asset_events, wallet_feed, wallet_feed_consumers TO wallet_app;
GRANT INSERT ON wallets, wallet_assets, wallet_holds, wallet_commands, wallet_asset_events, wallet_feed TO wallet_app;
GRANT UPDATE (total_amount, hold_amount, version, position, hash, format, open_holds, next_expiry, updated_at) ON wallet_assets TO wallet_app;  -- and with it the row lock
GRANT UPDATE (state, amount, captured, released, expires_at, updated_at, position) ON wallet_holds TO wallet_app;

GRANT SELECT ON goose_db_version, currencies, wallet_asset_events, wallet_feed TO wallet_consumer;
GRANT SELECT, INSERT, UPDATE, DELETE ON wallet_feed_consumers TO wallet_consumer;
