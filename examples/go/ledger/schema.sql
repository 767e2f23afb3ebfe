-- Run once, by the owner of the wallets' tables. Members of value_ledger book, close and prove.
SELECT pg_advisory_xact_lock(7235909);  -- two programs may start at once
CREATE SCHEMA value_ledger;
DO $$ BEGIN CREATE ROLE value_ledger NOLOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
GRANT wallet_consumer, wallet_reader TO value_ledger;

-- A line for each event that changed what a wallet owns or holds, as a double entry: what it credits
-- (+) and debits (-) to each account adds up to 0. Without a precision, numeric never rounds.
CREATE TABLE value_ledger.lines (
    line           bigint PRIMARY KEY,         -- from 1, without gaps, in the order of the feed
    month          text COLLATE "C" NOT NULL,  -- booked in, such as 2026-11: of occurred_at, unless that was closed
    occurred_at    timestamptz NOT NULL,
    user_id        text COLLATE "C" NOT NULL,
    currency       text COLLATE "C" NOT NULL,
    version        bigint  NOT NULL,           -- of the wallet
    transaction_id text COLLATE "C" NOT NULL,  -- '' if none
    available      numeric NOT NULL,           -- the wallet owns, and may spend
    held           numeric NOT NULL,           -- the wallet owns, and its holds reserve
    outside        numeric NOT NULL,           -- came in and went out by commands of one wallet
    transactions   numeric NOT NULL,           -- by legs of transactions: in sum 0, but for exchanges and unbalanced ones
    expired        numeric NOT NULL,           -- credits that expired unused
    running_total  numeric NOT NULL,           -- that all wallets own in the currency, after this line
    event          jsonb   NOT NULL,           -- of the feed; position, hash and command_id are the receipt
    UNIQUE (user_id, currency, version),
    CHECK (available + held + outside + transactions + expired = 0)
);
CREATE INDEX ON value_ledger.lines (currency, line);
CREATE INDEX ON value_ledger.lines (month, line);
CREATE INDEX ON value_ledger.lines (transaction_id) WHERE transaction_id <> '';

CREATE TABLE value_ledger.closes (
    month     text COLLATE "C" PRIMARY KEY,
    last_line bigint      NOT NULL,            -- at that time; the lines after it are in later months
    seal      text        NOT NULL,            -- SHA-256 of the seal before, last_line and the month's lines
    closed_at timestamptz NOT NULL DEFAULT now()
);

-- The other side of a leg: the legs of its transaction that go the other way, in its currency if there
-- are any. A leg that the ledger has not reached yet is not there.
CREATE VIEW value_ledger.parties AS
SELECT line, jsonb_agg(jsonb_build_object('user_id', user_id, 'currency', currency, 'amount', amount::text) ORDER BY version, user_id)::text AS parties
FROM (
    SELECT l.line, o.user_id, o.currency, o.version, o.available + o.held AS amount,
        o.currency = l.currency AS same, bool_or(o.currency = l.currency) OVER (PARTITION BY l.line) AS any_same
    FROM value_ledger.lines AS l
    JOIN value_ledger.lines AS o ON o.transaction_id = l.transaction_id AND sign(o.transactions) = -sign(l.transactions)
    WHERE l.transaction_id <> '' AND l.transactions <> 0) AS opposite
WHERE same OR NOT any_same GROUP BY line;

GRANT USAGE ON SCHEMA value_ledger TO value_ledger;
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA value_ledger TO value_ledger;
