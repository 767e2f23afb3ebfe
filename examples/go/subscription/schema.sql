-- The tables of this module, in the wallets' database: so the feed's position and what follows from
-- the events are written in one transaction. Apply it as the owner of the wallets' tables.
INSERT INTO currencies (code, scale) VALUES ('CREDIT', 0) ON CONFLICT DO NOTHING;

CREATE SCHEMA IF NOT EXISTS subscription;

-- A price may change at any time: it counts from each subscriber's next period.
CREATE TABLE IF NOT EXISTS subscription.plans (
    id          text PRIMARY KEY,
    price       numeric    NOT NULL CHECK (price > 0), -- of a month
    currency    text       NOT NULL REFERENCES currencies,
    credits     numeric    NOT NULL DEFAULT 0 CHECK (credits >= 0 AND credits = trunc(credits)), -- of a month, in CREDIT
    payee       text       NOT NULL, -- the user whose wallet gets the price
    grace       interval   NOT NULL, -- how long a subscriber keeps access after a period that was paid
    retry_after interval[] NOT NULL  -- when a refused charge is tried again, from the first refusal
);
INSERT INTO subscription.plans
SELECT id, price, 'USD', credits, 'subscriptions', grace, '{1 day, 3 days, 5 days, 7 days}'
FROM (VALUES ('basic', 10.00, 100, interval '3 days'), ('pro', 30.00, 500, interval '5 days')) AS example (id, price, credits, grace)
WHERE NOT EXISTS (SELECT FROM subscription.plans); -- so one that is deleted does not come back

-- Every payment that the wallets have made, from the feed.
CREATE TABLE IF NOT EXISTS subscription.payments (
    command_id   text PRIMARY KEY,
    subscription text        NOT NULL,
    subscriber   text        NOT NULL,
    plan         text        NOT NULL,
    amount       numeric     NOT NULL, -- negative if it was given back by a change of plan
    currency     text        NOT NULL,
    paid_until   timestamptz NOT NULL,
    access_until timestamptz NOT NULL, -- with the grace
    version      bigint      NOT NULL  -- of the subscriber's wallet
);
CREATE INDEX IF NOT EXISTS payments_subscriber ON subscription.payments (subscriber, paid_until DESC);
CREATE TABLE IF NOT EXISTS subscription.refunds (command_id text PRIMARY KEY); -- given back in full, which may come before the payment
-- Who has access: SELECT plan FROM subscription.access WHERE subscriber = $1 AND until > now().
CREATE TABLE IF NOT EXISTS subscription.access (subscriber text PRIMARY KEY, plan text NOT NULL, until timestamptz NOT NULL);
