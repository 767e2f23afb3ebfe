-- +goose Up

-- Webhooks: a consumer of the feed notes for each endpoint which versions of which wallet it is
-- still to be sent, one row per wallet however many events wait; package
-- internal/service/webhooks sends them. The keys begin with the endpoint: all that is read or
-- written is of one.
CREATE TABLE wallet_webhook_endpoints (
    endpoint_id   text COLLATE "C" PRIMARY KEY CHECK (endpoint_id ~ '^we_[a-z0-9]{26}$'),
    url           text   NOT NULL CHECK (length(url) <= 2048),
    description   text   NOT NULL DEFAULT '',
    users         text[] NOT NULL DEFAULT '{}',
    currencies    text[] NOT NULL DEFAULT '{}',
    events        text[] NOT NULL DEFAULT '{}',
    state         text   NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'paused', 'parked')),
    after_id      bigint NOT NULL,
    after_version bigint NOT NULL,
    failures      integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    retry_at      timestamptz,
    last_error    text   NOT NULL DEFAULT '',
    last_error_at timestamptz,
    delivered     bigint NOT NULL DEFAULT 0,
    delivered_at  timestamptz,
    redeliver_lease text,
    redeliver_until timestamptz,
    created_by    text   NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE  wallet_webhook_endpoints          IS 'Where events are sent by HTTP.';
COMMENT ON COLUMN wallet_webhook_endpoints.users    IS 'of whose wallets; as with currencies and events, all if empty';
COMMENT ON COLUMN wallet_webhook_endpoints.state    IS 'paused by a person, or parked by the service, see last_error; then nothing is sent';
COMMENT ON COLUMN wallet_webhook_endpoints.after_id IS 'row of the feed, with after_version: it is sent what comes later';
COMMENT ON COLUMN wallet_webhook_endpoints.failures IS 'probes in a row that failed for every wallet tried';
COMMENT ON COLUMN wallet_webhook_endpoints.retry_at IS 'set while the endpoint is down: when it is probed next';
COMMENT ON COLUMN wallet_webhook_endpoints.redeliver_lease IS 'the process that sends again what was asked for, until redeliver_until';

-- Several are valid at once after a rotation.
CREATE TABLE wallet_webhook_secrets (
    endpoint_id text COLLATE "C" NOT NULL REFERENCES wallet_webhook_endpoints ON DELETE CASCADE,
    secret_id   bigint GENERATED ALWAYS AS IDENTITY,
    secret      bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz,
    PRIMARY KEY (endpoint_id, secret_id)
);
COMMENT ON COLUMN wallet_webhook_secrets.secret IS 'a Temporal payload, encrypted if WALLET_PAYLOAD_KEYS was set';

CREATE TABLE wallet_webhook_queue (
    endpoint_id  text COLLATE "C" NOT NULL REFERENCES wallet_webhook_endpoints ON DELETE CASCADE,
    user_id      text COLLATE "C" NOT NULL,
    currency     text COLLATE "C" NOT NULL,
    next_version bigint NOT NULL,
    last_version bigint NOT NULL,
    failures     integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    last_error   text NOT NULL DEFAULT '',
    since        timestamptz NOT NULL DEFAULT clock_timestamp(),
    retry_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease        text,
    lease_until  timestamptz,
    PRIMARY KEY (endpoint_id, user_id, currency)
);
COMMENT ON TABLE  wallet_webhook_queue              IS 'Wallets with events that an endpoint is still to be sent.';
COMMENT ON COLUMN wallet_webhook_queue.next_version IS 'the first one; those up to last_version follow';
COMMENT ON COLUMN wallet_webhook_queue.failures     IS 'of the first one, in a row';
COMMENT ON COLUMN wallet_webhook_queue.since        IS 'when it last got on';
COMMENT ON COLUMN wallet_webhook_queue.lease        IS 'who is sending it, until lease_until';

CREATE INDEX wallet_webhook_queue_due ON wallet_webhook_queue (endpoint_id, retry_at);

-- Single events: parked ones, which the queue has gone past, and those that somebody asked to
-- have sent again.
CREATE TABLE wallet_webhook_events (
    endpoint_id text COLLATE "C" NOT NULL REFERENCES wallet_webhook_endpoints ON DELETE CASCADE,
    user_id     text COLLATE "C" NOT NULL,
    currency    text COLLATE "C" NOT NULL,
    version     bigint NOT NULL,
    failures    integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    last_error  text NOT NULL DEFAULT '',
    parked_at   timestamptz,
    retry_at    timestamptz,
    PRIMARY KEY (endpoint_id, user_id, currency, version)
);
COMMENT ON TABLE  wallet_webhook_events          IS 'Events that are parked, or that are to be sent again out of their order.';
COMMENT ON COLUMN wallet_webhook_events.retry_at IS 'when it is sent; NULL: it is parked';

CREATE INDEX wallet_webhook_events_due ON wallet_webhook_events (endpoint_id, retry_at) WHERE retry_at IS NOT NULL;

-- wallet_webhooks manages endpoints and sends events: it moves no money.

-- +goose StatementBegin
DO $$
BEGIN
    BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'wallet_webhooks') THEN
            CREATE ROLE wallet_webhooks NOLOGIN;
        END IF;
    EXCEPTION
        WHEN duplicate_object OR unique_violation THEN
            NULL;  -- another database's migration created it first
        WHEN insufficient_privilege THEN
            RAISE EXCEPTION 'role wallet_webhooks is missing and % may not create it', current_user
                USING ERRCODE = 'insufficient_privilege',
                HINT = 'As an administrator: CREATE ROLE wallet_webhooks; then migrate again.';
    END;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO wallet_webhooks', current_schema());
END
$$;
-- +goose StatementEnd

GRANT SELECT ON goose_db_version, currencies, wallet_asset_events, wallet_feed TO wallet_webhooks;
GRANT SELECT, INSERT, DELETE ON wallet_feed_consumers, wallet_feed_parked TO wallet_webhooks;
GRANT UPDATE (after_id, after_version, updated_at) ON wallet_feed_consumers TO wallet_webhooks;
GRANT UPDATE (from_id, from_version, failures, parked, last_error, retry_at) ON wallet_feed_parked TO wallet_webhooks;
GRANT SELECT, INSERT (consumer, user_id, currency, version, actor, reason, last_error), UPDATE (last_error, redeliver_at, ended_at) ON wallet_feed_skipped TO wallet_webhooks;
GRANT SELECT, INSERT, UPDATE, DELETE ON wallet_webhook_endpoints, wallet_webhook_secrets, wallet_webhook_queue, wallet_webhook_events TO wallet_webhooks;

-- The secrets are nobody else's.
GRANT SELECT ON wallet_webhook_endpoints, wallet_webhook_queue, wallet_webhook_events TO wallet_app, wallet_reader;
GRANT SELECT (endpoint_id, secret_id, created_at, expires_at) ON wallet_webhook_secrets TO wallet_app, wallet_reader;
