SELECT pg_advisory_xact_lock(7235908);  -- two programs that start at once would get in each other's way

CREATE TABLE IF NOT EXISTS orders (
    id       text PRIMARY KEY,
    user_id  text NOT NULL,
    currency text NOT NULL,
    price    numeric NOT NULL
);

CREATE TABLE IF NOT EXISTS wallet_outbox (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id    text NOT NULL,
    currency   text NOT NULL,
    command    jsonb NOT NULL,      -- all of it, with its id: each try sends the same
    created_at timestamptz NOT NULL DEFAULT now(),
    failed_at  timestamptz,         -- the last try that got no answer
    error      text,                -- and why
    result     jsonb,               -- the wallet's answer
    done_at    timestamptz
);
CREATE UNIQUE INDEX IF NOT EXISTS wallet_outbox_command ON wallet_outbox (user_id, currency, (command->>'id'));  -- it is paid once
CREATE INDEX IF NOT EXISTS wallet_outbox_next ON wallet_outbox (coalesce(failed_at, created_at), id) WHERE done_at IS NULL;
CREATE INDEX IF NOT EXISTS wallet_outbox_wallet ON wallet_outbox (user_id, currency, id) WHERE done_at IS NULL;
