-- +goose Up

-- Every primary and unique key of a wallet's rows begins with user_id, so the tables can be
-- distributed by user on Citus unchanged. Keys compare by bytes (COLLATE "C"): cheaper, and the
-- same order in every locale.
--
-- Amounts are numeric without precision: numeric(38,2) would round silently. NaN and Infinity
-- compare above every number, so "< 'Infinity'" excludes both.

CREATE TABLE currencies (
    code  text COLLATE "C" PRIMARY KEY CHECK (code ~ '^[A-Z][A-Z0-9_]{1,15}$'),
    scale smallint NOT NULL CHECK (scale BETWEEN 0 AND 24)  -- decimals
);
COMMENT ON TABLE currencies IS 'Registered currencies and how many decimals each has. A scale never changes.';

CREATE TABLE wallets (
    user_id    text COLLATE "C" PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE wallet_assets (
    user_id      text COLLATE "C" NOT NULL REFERENCES wallets,
    currency     text COLLATE "C" NOT NULL REFERENCES currencies,
    total_amount numeric     NOT NULL DEFAULT 0,
    hold_amount  numeric     NOT NULL DEFAULT 0,
    version      bigint      NOT NULL DEFAULT 0 CHECK (version >= 0),
    position     bigint      NOT NULL DEFAULT 0 CHECK (position >= version),
    hash         bytea       NOT NULL DEFAULT decode(repeat('00', 32), 'hex') CHECK (length(hash) = 32),
    format       smallint    NOT NULL DEFAULT 0 CHECK (format >= 0),
    open_holds   integer     NOT NULL DEFAULT 0 CHECK (open_holds BETWEEN 0 AND 1000),
    next_expiry  timestamptz,
    open_grants  integer     NOT NULL DEFAULT 0 CHECK (open_grants BETWEEN 0 AND 1000),
    granted_amount numeric   NOT NULL DEFAULT 0,
    next_grant_expiry timestamptz,
    frozen       text    CHECK (frozen IN ('debits', 'credits', 'all')),
    debits_frozen_until  timestamptz,
    credits_frozen_until timestamptz,
    closed       boolean NOT NULL DEFAULT false,
    credit_limit numeric CHECK (0 < credit_limit AND credit_limit < 'Infinity'),
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    thresholds   jsonb,
    PRIMARY KEY (user_id, currency),
    CHECK (0 <= hold_amount AND 0 <= granted_amount AND hold_amount + granted_amount <= total_amount + coalesce(credit_limit, 0) AND total_amount < 'Infinity'),
    CHECK (NOT closed OR (total_amount = 0 AND granted_amount = 0 AND credit_limit IS NULL)),
    CHECK (debits_frozen_until IS NULL OR coalesce(frozen IN ('debits', 'all'), false)),
    CHECK (credits_frozen_until IS NULL OR coalesce(frozen IN ('credits', 'all'), false))
) WITH (fillfactor = 50);  -- keeps new versions of a hot row on its own page
COMMENT ON TABLE  wallet_assets          IS 'The balance of a user in a currency, and the head of its hash chain.';
COMMENT ON COLUMN wallet_assets.version  IS 'applied commands, from 1 without gaps; creation is 1';
COMMENT ON COLUMN wallet_assets.position IS 'journal entries, from 1 without gaps';
COMMENT ON COLUMN wallet_assets.hash     IS 'hash of the last journal entry';
COMMENT ON COLUMN wallet_assets.open_holds  IS 'how many rows of wallet_holds are open';
COMMENT ON COLUMN wallet_assets.next_expiry IS 'when the next of them expires; null if none does';
COMMENT ON COLUMN wallet_assets.open_grants       IS 'how many rows of wallet_grants are open or held: where it is 0, no command reads them';
COMMENT ON COLUMN wallet_assets.granted_amount    IS 'what is left of them';
COMMENT ON COLUMN wallet_assets.next_grant_expiry IS 'when something of one expires next; null if nothing does';
COMMENT ON COLUMN wallet_assets.frozen   IS 'what is refused: debits, credits or all; null if nothing';
COMMENT ON COLUMN wallet_assets.debits_frozen_until  IS 'when that ends by itself, without a change here; null if it does not';
COMMENT ON COLUMN wallet_assets.credits_frozen_until IS 'when that ends by itself, without a change here; null if it does not';
COMMENT ON COLUMN wallet_assets.credit_limit IS 'by how much the total may be below 0; null if it may not';
COMMENT ON COLUMN wallet_assets.thresholds IS 'whose crossing is told, by name: [{"name": "low", "amount": "20.00"}]; null if there is none';
COMMENT ON COLUMN wallet_assets.format   IS 'format of the last journal entry; 0 before the first';

CREATE TABLE wallet_commands (
    user_id      text COLLATE "C" NOT NULL,
    currency     text COLLATE "C" NOT NULL,
    position     bigint  NOT NULL CHECK (position >= 1),
    command_id   text COLLATE "C" NOT NULL,
    type         text    CHECK (type IN ('create', 'add', 'subtract', 'hold', 'capture', 'release', 'reverse', 'freeze', 'unfreeze', 'close', 'set_credit_limit', 'set_threshold', 'remove_threshold', 'expire', 'expire_grant')),  -- null if unreadable
    amount       numeric CHECK (0 <= amount AND amount < 'Infinity'),
    request_hash bytea   NOT NULL CHECK (length(request_hash) = 32),
    status       text    NOT NULL CHECK (status IN ('applied', 'unapplied')),
    reason       text    CHECK (reason IN ('insufficient_funds', 'already_exists', 'too_late', 'scale_exceeded', 'version_mismatch', 'malformed',
                     'hold_not_found', 'hold_closed', 'hold_expired', 'hold_exceeded', 'expiry_not_later', 'too_many_holds',
                     'original_not_found', 'original_unapplied', 'original_is_reversal', 'not_reversible', 'reversal_exceeded',
                     'frozen', 'freeze_expired', 'closed', 'not_empty', 'credit_limit_exceeded', 'too_many_thresholds', 'threshold_not_found', 'grant_expired', 'too_many_grants', 'transaction_refused')),
    message      text,
    total_before numeric NOT NULL,
    total_after  numeric NOT NULL,
    hold_before  numeric NOT NULL,
    hold_after   numeric NOT NULL,
    version      bigint  CHECK (version >= 1),
    description  text,
    actor        text,
    metadata     jsonb,
    recorded_at  timestamptz NOT NULL,
    prev_hash    bytea   NOT NULL CHECK (length(prev_hash) = 32),
    not_after    timestamptz,  -- from the command
    expected_version bigint CHECK (expected_version >= 0),
    hold_id      text COLLATE "C",
    expires_in   text,
    expires_at   timestamptz,
    partial      boolean,
    hold_state   text    CHECK (hold_state IN ('open', 'captured', 'released', 'expired')),  -- after the command
    hold_left    numeric CHECK (0 <= hold_left AND hold_left < 'Infinity'),
    hold_expires_at timestamptz,
    original_id  text COLLATE "C",  -- that the command reverses
    original_left numeric CHECK (0 < original_left AND original_left < 'Infinity'),  -- to reverse, after the command
    what         text    CHECK (what IN ('debits', 'credits', 'all')),  -- the command freezes
    frozen       text    CHECK (frozen IN ('debits', 'credits', 'all')),  -- after the command
    debits_frozen_until  timestamptz,
    credits_frozen_until timestamptz,
    closed       boolean,
    credit_limit numeric CHECK (0 < credit_limit AND credit_limit < 'Infinity'),  -- after the command; before it, the CHECKs below held with this one too
    priority     smallint CHECK (priority BETWEEN 1 AND 100),  -- of the grant that the command makes
    return_expired boolean,
    grant_expires_at timestamptz,
    grants       text    CHECK (grants ~ '^[1-9][0-9]*:[0-9.]+(,[1-9][0-9]*:[0-9.]+)*$'),  -- number:amount of those that the command takes, reserves or gives back
    transaction_id text COLLATE "C",  -- of which this command is a leg
    leg          smallint CHECK (leg BETWEEN 1 AND legs),
    legs         smallint CHECK (legs BETWEEN 2 AND 100),
    threshold    text,  -- the command sets or removes
    thresholds   jsonb,  -- that the wallet has after such a command
    crossed      jsonb,  -- by the command: [{"name": "low", "amount": "20.00", "direction": "below"}]
    format       smallint NOT NULL CHECK (format >= 1),
    hash         bytea   NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (user_id, currency, command_id),
    UNIQUE (user_id, currency, position),
    UNIQUE (user_id, currency, version),
    CHECK ((status = 'applied') = (version IS NOT NULL)),
    CHECK ((status = 'applied') = (reason IS NULL)),
    CHECK (status = 'unapplied' OR type IS NOT NULL),
    CHECK ((transaction_id IS NULL) = (leg IS NULL) AND (leg IS NULL) = (legs IS NULL)),
    CHECK (status = 'applied' OR (total_after = total_before AND hold_after = hold_before)),
    CHECK (0 <= hold_before AND hold_before <= total_before + coalesce(credit_limit, 0) AND total_before < 'Infinity'),
    CHECK (0 <= hold_after AND hold_after <= total_after + coalesce(credit_limit, 0) AND total_after < 'Infinity')
);
-- The last reversal of a command says what is left of it.
CREATE INDEX wallet_commands_reversals ON wallet_commands (user_id, currency, original_id, position) WHERE original_id IS NOT NULL AND version IS NOT NULL;
-- The thresholds of a wallet are those after the last command that set or removed one. No other
-- index has this order, so that none is searched for it instead.
CREATE INDEX wallet_commands_thresholds ON wallet_commands (user_id, currency, (-position)) WHERE threshold IS NOT NULL AND version IS NOT NULL;
COMMENT ON TABLE  wallet_commands              IS 'The journal: every command that reached a wallet asset, applied or refused, in one hash chain per asset. Append-only.';
COMMENT ON COLUMN wallet_commands.request_hash IS 'SHA-256 of the command''s content, to tell a retry from a reused id';
COMMENT ON COLUMN wallet_commands.format       IS 'names the recipe of the hash and the rules by which the entry was decided';
COMMENT ON COLUMN wallet_commands.hash         IS 'SHA-256 of every other column, prev_hash among them';

CREATE TABLE wallet_asset_events (
    user_id      text COLLATE "C" NOT NULL,
    currency     text COLLATE "C" NOT NULL,
    version      bigint  NOT NULL,
    event_type   text    NOT NULL CHECK (event_type IN ('wallet_asset.created', 'wallet_asset.added', 'wallet_asset.subtracted',
                     'wallet_asset.held', 'wallet_asset.captured', 'wallet_asset.released', 'wallet_asset.reversed', 'wallet_asset.frozen', 'wallet_asset.unfrozen', 'wallet_asset.closed',
                     'wallet_asset.credit_limit_set', 'wallet_asset.threshold_set', 'wallet_asset.threshold_removed',
                     'wallet_asset.hold_expired', 'wallet_asset.grant_expired')),
    command_id   text COLLATE "C" NOT NULL,
    amount       numeric,
    total_before numeric NOT NULL,
    total_after  numeric NOT NULL,
    hold_before  numeric NOT NULL,
    hold_after   numeric NOT NULL,
    description  text,
    actor        text,
    metadata     jsonb,
    occurred_at  timestamptz NOT NULL,
    position     bigint  NOT NULL,
    hash         bytea   NOT NULL,
    not_after    timestamptz,
    expected_version bigint,
    hold_id      text COLLATE "C",
    expires_in   text,
    expires_at   timestamptz,
    partial      boolean,
    hold_state   text,
    hold_left    numeric,
    hold_expires_at timestamptz,
    original_id  text COLLATE "C",
    original_left numeric,
    what         text,
    frozen       text,
    debits_frozen_until  timestamptz,
    credits_frozen_until timestamptz,
    closed       boolean,
    credit_limit numeric,
    priority     smallint,
    return_expired boolean,
    grant_expires_at timestamptz,
    grants       text,
    transaction_id text COLLATE "C",
    leg          smallint,
    legs         smallint,
    threshold    text,
    thresholds   jsonb,
    crossed      jsonb,
    PRIMARY KEY (user_id, currency, version)
);
COMMENT ON TABLE wallet_asset_events IS 'The audit trail that other modules read: one event for each applied journal entry, equal to it. Append-only.';

-- What RecordEvents inserts: the columns of wallet_asset_events, in order. A type without an
-- event gives NULL, which the table refuses.
CREATE VIEW wallet_entry_events AS
SELECT user_id, currency, version,
    CASE type
        WHEN 'create'   THEN 'wallet_asset.created'
        WHEN 'add'      THEN 'wallet_asset.added'
        WHEN 'subtract' THEN 'wallet_asset.subtracted'
        WHEN 'hold'     THEN 'wallet_asset.held'
        WHEN 'capture'  THEN 'wallet_asset.captured'
        WHEN 'release'  THEN 'wallet_asset.released'
        WHEN 'reverse'  THEN 'wallet_asset.reversed'
        WHEN 'freeze'   THEN 'wallet_asset.frozen'
        WHEN 'unfreeze' THEN 'wallet_asset.unfrozen'
        WHEN 'close'    THEN 'wallet_asset.closed'
        WHEN 'set_credit_limit' THEN 'wallet_asset.credit_limit_set'
        WHEN 'set_threshold'    THEN 'wallet_asset.threshold_set'
        WHEN 'remove_threshold' THEN 'wallet_asset.threshold_removed'
        WHEN 'expire'   THEN 'wallet_asset.hold_expired'
        WHEN 'expire_grant' THEN 'wallet_asset.grant_expired'
    END AS event_type,
    command_id, amount, total_before, total_after, hold_before, hold_after, description, actor, metadata,
    recorded_at AS occurred_at, position, hash,
    not_after, expected_version,
    hold_id, expires_in, expires_at, partial, hold_state, hold_left, hold_expires_at,
    original_id, original_left, what, frozen, debits_frozen_until, credits_frozen_until, closed, credit_limit,
    priority, return_expired, grant_expires_at, grants,
    transaction_id, leg, legs,
    threshold, thresholds, crossed
FROM wallet_commands
WHERE version IS NOT NULL;
COMMENT ON VIEW wallet_entry_events IS 'Each applied journal entry as the event that repeats it.';

-- Keyed by transaction: its legs may be of any users. Whoever applies a transaction inserts its
-- row, so that other content under its id is seen whatever wallets it is about.
CREATE TABLE wallet_transactions (
    transaction_id text COLLATE "C" PRIMARY KEY,
    users        text[]  NOT NULL,  -- of the legs, in their order
    currencies   text[]  NOT NULL,
    must_balance boolean NOT NULL,
    request_hash bytea   NOT NULL CHECK (length(request_hash) = 32),
    CHECK (cardinality(users) BETWEEN 2 AND 100 AND cardinality(currencies) = cardinality(users)),
    CHECK (array_ndims(users) = 1 AND array_lower(users, 1) = 1 AND array_position(users, NULL) IS NULL),
    CHECK (array_ndims(currencies) = 1 AND array_lower(currencies, 1) = 1 AND array_position(currencies, NULL) IS NULL)
);
COMMENT ON TABLE  wallet_transactions              IS 'Which wallets each transaction is about, applied or refused. What became of it is in the journal, in an entry for each leg. Append-only.';
COMMENT ON COLUMN wallet_transactions.request_hash IS 'SHA-256 of the legs'' wallets and request hashes, and of must_balance';

CREATE TABLE wallet_holds (
    user_id    text COLLATE "C" NOT NULL,
    currency   text COLLATE "C" NOT NULL,
    hold_id    text COLLATE "C" NOT NULL,
    state      text        NOT NULL CHECK (state IN ('open', 'captured', 'released', 'expired')),
    amount     numeric     NOT NULL CHECK (0 < amount AND amount < 'Infinity'),
    captured   numeric     NOT NULL CHECK (captured >= 0),
    released   numeric     NOT NULL CHECK (released >= 0),
    expires_at timestamptz,
    placed_at  timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    position   bigint      NOT NULL CHECK (position >= 1),
    grants     text,
    PRIMARY KEY (user_id, currency, hold_id),
    CHECK (captured + released <= amount),
    CHECK ((state = 'open') = (captured + released < amount))
);
COMMENT ON TABLE  wallet_holds            IS 'What became of each hold, derived from the journal in the transaction that appends to it.';
COMMENT ON COLUMN wallet_holds.hold_id    IS 'id of the command that placed it';
COMMENT ON COLUMN wallet_holds.amount     IS 'reserved, raises included; what is neither captured nor released is left';
COMMENT ON COLUMN wallet_holds.grants     IS 'number:amount of the grants that what is left reserves; the rest is not granted';
COMMENT ON COLUMN wallet_holds.updated_at IS 'when its last journal entry was recorded, at position';

-- For those of a wallet that are open, by their expiry; for those of all wallets whose time is
-- over; and for those that have expired lately, whose events the sweep looks after.
CREATE INDEX wallet_holds_open    ON wallet_holds (user_id, currency, expires_at, hold_id) WHERE state = 'open';
CREATE INDEX wallet_holds_due     ON wallet_holds (expires_at) WHERE state = 'open' AND expires_at IS NOT NULL;
CREATE INDEX wallet_holds_expired ON wallet_holds (updated_at) WHERE state = 'expired';

CREATE TABLE wallet_grants (
    user_id      text COLLATE "C" NOT NULL,
    currency     text COLLATE "C" NOT NULL,
    grant_number bigint      NOT NULL CHECK (grant_number >= 1),
    command_id   text COLLATE "C" NOT NULL,
    state        text        NOT NULL CHECK (state IN ('open', 'held', 'used', 'expired')),
    priority     smallint    NOT NULL CHECK (priority BETWEEN 1 AND 100),
    amount       numeric     NOT NULL CHECK (0 < amount AND amount < 'Infinity'),
    unused       numeric     NOT NULL CHECK (unused >= 0),
    held         numeric     NOT NULL CHECK (held >= 0),
    used         numeric     NOT NULL CHECK (used >= 0),
    expired      numeric     NOT NULL CHECK (expired >= 0),
    expiries     integer     NOT NULL DEFAULT 0,
    expires_at   timestamptz,
    added_at     timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    position     bigint      NOT NULL CHECK (position >= grant_number),
    PRIMARY KEY (user_id, currency, grant_number),
    CHECK (unused + held + used + expired = amount),
    CHECK ((state = 'open') = (unused > 0)),
    CHECK ((state = 'held') = (unused = 0 AND held > 0))
);
COMMENT ON TABLE  wallet_grants              IS 'What became of each grant, derived from the journal in the transaction that appends to it. A wallet without grants has no rows.';
COMMENT ON COLUMN wallet_grants.grant_number IS 'position of the add that made it, whose id is command_id';
COMMENT ON COLUMN wallet_grants.unused       IS 'what can be spent of it';
COMMENT ON COLUMN wallet_grants.expiries     IS 'how many entries its expired amount is of: what was held expires later';
COMMENT ON COLUMN wallet_grants.updated_at   IS 'when its last journal entry was recorded, at position';

-- For those of a wallet in the order in which they are used up, which NULL, for never, is the last
-- of; for those of a wallet by their expiry; for those of all wallets whose time is over; and for
-- those that have expired lately, whose events the sweep looks after.
CREATE INDEX wallet_grants_next    ON wallet_grants (user_id, currency, priority, expires_at, grant_number) WHERE state = 'open';
CREATE INDEX wallet_grants_open    ON wallet_grants (user_id, currency, expires_at, grant_number) WHERE state = 'open' AND expires_at IS NOT NULL;
CREATE INDEX wallet_grants_due     ON wallet_grants (expires_at) WHERE state = 'open' AND expires_at IS NOT NULL;
CREATE INDEX wallet_grants_expired ON wallet_grants (updated_at) WHERE expired > 0;

-- A run applies the lines of a file, or of another module, each a command of its own. Whoever
-- stages one inserts its row and all its lines in one transaction, and then starts the workflow
-- Run.
CREATE TABLE wallet_runs (
    run_id     text COLLATE "C" PRIMARY KEY CHECK (char_length(run_id) BETWEEN 1 AND 100 AND run_id !~ '^_|[[:cntrl:]]'),
    file       text        NOT NULL DEFAULT '',
    sha256     bytea       CHECK (length(sha256) = 32),
    lines      bigint      CHECK (lines >= 0),
    skipped    bigint      NOT NULL DEFAULT 0 CHECK (0 <= skipped AND skipped <= coalesce(lines, skipped)),
    state      text        NOT NULL DEFAULT 'staged' CHECK (state IN ('staged', 'running', 'paused', 'cancelled', 'done')),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE  wallet_runs         IS 'Lists of commands for many wallets, each applied by a workflow Run.';
COMMENT ON COLUMN wallet_runs.sha256  IS 'of the file, to tell the same file from another one under its id; null if there is none';
COMMENT ON COLUMN wallet_runs.lines   IS 'how many there are, skipped ones included; null until a run that was staged by SQL begins';
COMMENT ON COLUMN wallet_runs.skipped IS 'invalid lines that were left out when it was staged: they are in wallet_run_failures';

-- All lines of a wallet are in one part, and each part is applied in the order of its lines, so
-- that parts can be applied side by side without getting in each other's way.
CREATE TABLE wallet_run_lines (
    run_id   text COLLATE "C" NOT NULL,
    line     bigint NOT NULL CHECK (line >= 1),
    user_id  text COLLATE "C" NOT NULL CHECK (octet_length(user_id) <= 512),
    currency text COLLATE "C" NOT NULL CHECK (octet_length(currency) <= 64),
    command  json   NOT NULL CHECK (octet_length(command::text) <= 65536),
    part     smallint GENERATED ALWAYS AS ((hashtextextended(user_id || '/' || currency, 0) & 15)::smallint) STORED,
    PRIMARY KEY (run_id, part, line)
);
COMMENT ON TABLE  wallet_run_lines         IS 'The commands of runs. They are not changed; those of a run that is done are no longer needed.';
COMMENT ON COLUMN wallet_run_lines.line    IS 'its number in the file: lines of one wallet are applied in this order';
COMMENT ON COLUMN wallet_run_lines.command IS 'as sent to a wallet; without an id it gets one that is made of the run and the line';

-- Lines that nobody would apply, or that would be taken for lines of the run's file, are refused.
-- The lock has the run begin before the lines are added, or once they are committed. A foreign key
-- would check each line by itself: that doubles the time to stage a file.

-- +goose StatementBegin
CREATE FUNCTION wallet_check_run_lines() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    run text;
BEGIN
    FOR run IN SELECT DISTINCT run_id FROM added ORDER BY run_id LOOP
        PERFORM FROM wallet_runs WHERE run_id = run AND state = 'staged' AND lines IS NULL FOR SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'run % takes no lines: there is none, or all its lines are staged', to_json(left(run, 100))
                USING ERRCODE = 'restrict_violation', HINT = 'Insert a run and all its lines in one transaction, under an id that is not used.';
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER check_run AFTER INSERT ON wallet_run_lines REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION wallet_check_run_lines();

CREATE TABLE wallet_run_parts (
    run_id     text COLLATE "C" NOT NULL REFERENCES wallet_runs,
    part       smallint    NOT NULL,
    lines      bigint      NOT NULL CHECK (lines > 0),
    done_line  bigint      NOT NULL DEFAULT 0,
    saves      bigint      NOT NULL DEFAULT 0,
    applied    bigint      NOT NULL DEFAULT 0 CHECK (applied >= 0),
    refused    bigint      NOT NULL DEFAULT 0 CHECK (refused >= 0),
    invalid    bigint      NOT NULL DEFAULT 0 CHECK (invalid >= 0),
    replayed   bigint      NOT NULL DEFAULT 0 CHECK (replayed >= 0),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, part)
) WITH (fillfactor = 50);
COMMENT ON TABLE  wallet_run_parts           IS 'How far each part of a run has come, from when the run begins.';
COMMENT ON COLUMN wallet_run_parts.done_line IS 'the lines up to this one are done, or in wallet_run_waiting';
COMMENT ON COLUMN wallet_run_parts.saves     IS 'how often the row was changed: two workers at one part notice each other by it';
COMMENT ON COLUMN wallet_run_parts.applied   IS 'lines whose command is applied; of these and the refused, replayed had been answered before';

CREATE TABLE wallet_run_waiting (
    run_id   text COLLATE "C" NOT NULL,
    part     smallint NOT NULL,
    line     bigint   NOT NULL,
    user_id  text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    PRIMARY KEY (run_id, part, user_id, currency, line)
);
COMMENT ON TABLE wallet_run_waiting IS 'Lines that were passed over, because their wallet was locked or could not be read: they are tried again until they are done.';

CREATE TABLE wallet_run_failures (
    run_id     text COLLATE "C" NOT NULL,
    part       smallint NOT NULL,  -- 0 of a skipped line
    line       bigint   NOT NULL,
    status     text     NOT NULL CHECK (status IN ('refused', 'invalid')),
    user_id    text COLLATE "C" NOT NULL CHECK (octet_length(user_id) <= 512 AND user_id !~ '[[:cntrl:]]'),
    currency   text COLLATE "C" NOT NULL CHECK (octet_length(currency) <= 512 AND currency !~ '[[:cntrl:]]'),
    type       text     NOT NULL,
    amount     text     NOT NULL,
    command_id text COLLATE "C" NOT NULL,
    reason     text     NOT NULL,
    message    text     NOT NULL,
    PRIMARY KEY (run_id, line, part)
);
COMMENT ON TABLE wallet_run_failures IS 'Lines of runs that were refused, or are invalid.';

-- Privileges stop the service from changing journal and events. These triggers stop even the
-- tables' owner, in every replication role.

-- +goose StatementBegin
CREATE FUNCTION wallet_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation', HINT = 'Correct a mistake with a new command.';
END
$$;
-- +goose StatementEnd

CREATE TRIGGER append_only_rows     BEFORE UPDATE OR DELETE ON wallet_commands     FOR EACH ROW       EXECUTE FUNCTION wallet_append_only();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE         ON wallet_commands     FOR EACH STATEMENT EXECUTE FUNCTION wallet_append_only();
CREATE TRIGGER append_only_rows     BEFORE UPDATE OR DELETE ON wallet_asset_events FOR EACH ROW       EXECUTE FUNCTION wallet_append_only();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE         ON wallet_asset_events FOR EACH STATEMENT EXECUTE FUNCTION wallet_append_only();
CREATE TRIGGER append_only_rows     BEFORE UPDATE OR DELETE ON wallet_transactions FOR EACH ROW       EXECUTE FUNCTION wallet_append_only();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE         ON wallet_transactions FOR EACH STATEMENT EXECUTE FUNCTION wallet_append_only();
ALTER TABLE wallet_transactions ENABLE ALWAYS TRIGGER append_only_rows;
ALTER TABLE wallet_transactions ENABLE ALWAYS TRIGGER append_only_truncate;
ALTER TABLE wallet_commands     ENABLE ALWAYS TRIGGER append_only_rows;
ALTER TABLE wallet_commands     ENABLE ALWAYS TRIGGER append_only_truncate;
ALTER TABLE wallet_asset_events ENABLE ALWAYS TRIGGER append_only_rows;
ALTER TABLE wallet_asset_events ENABLE ALWAYS TRIGGER append_only_truncate;

-- A currency registered by mistake can be deleted while no wallet uses it (the foreign key
-- checks that), but its scale cannot be changed: every amount written with it would mean
-- something else.

-- +goose StatementBegin
CREATE FUNCTION wallet_currency_is_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'currency % has scale %, which never changes', OLD.code, OLD.scale
        USING ERRCODE = 'restrict_violation';
END
$$;
-- +goose StatementEnd

CREATE TRIGGER fixed BEFORE UPDATE ON currencies FOR EACH ROW EXECUTE FUNCTION wallet_currency_is_fixed();
ALTER TABLE currencies ENABLE ALWAYS TRIGGER fixed;

-- ISO 4217's currencies in circulation and its funds codes, with their minor units (list one of
-- the standard; metals and testing codes have none there and are left out, like withdrawn
-- codes).
INSERT INTO currencies (code, scale)
SELECT code, scale
FROM (VALUES
    (0, 'BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF'),
    (2, 'AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD
         CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP
         GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK
         LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO
         NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS
         SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST
         XCD XCG YER ZAR ZMW ZWG'),
    (3, 'BHD IQD JOD KWD LYD OMR TND'),
    (4, 'CLF UYW')
) AS iso (scale, codes)
CROSS JOIN LATERAL regexp_split_to_table(codes, '\s+') AS code;
