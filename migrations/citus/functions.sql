-- What "wallet migrate distribute" runs after the tables are distributed: the functions of
-- 00002_roles_and_feed.sql as Citus can run them. A statement on a wallet's rows names one user,
-- so it runs on one node; no statement writes two tables; ids of the feed come from the
-- coordinator's sequence.

CREATE OR REPLACE FUNCTION wallet_record_events(users text[], currencies text[]) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    of_user text;
    of_currency text;
    first bigint;     -- of the range that is not in the feed yet; NULL for none
    recorded bigint;  -- the last event
    appended bigint;
BEGIN
    -- A node would take the feed's ids from a sequence of its own.
    IF NOT citus_is_coordinator() THEN
        RAISE EXCEPTION 'events are only recorded on the coordinator: connect to it';
    END IF;
    FOR i IN 1 .. cardinality(users) LOOP
        of_user := users[i];
        of_currency := currencies[i];
        first := NULL;
        recorded := coalesce((SELECT version FROM wallet_asset_events
            WHERE user_id = of_user AND currency = of_currency ORDER BY version DESC LIMIT 1), 0);
        -- All events are inserted before the first comes back.
        FOR appended IN
            INSERT INTO wallet_asset_events
            SELECT *
            FROM wallet_entry_events
            WHERE user_id = of_user AND currency = of_currency AND version > recorded
            ORDER BY version
            ON CONFLICT DO NOTHING
            RETURNING version
        LOOP
            IF appended <> recorded + 1 AND first IS NOT NULL THEN
                INSERT INTO wallet_feed (user_id, currency, first_version, last_version) VALUES (of_user, of_currency, first, recorded);
                first := NULL;
            END IF;
            first := coalesce(first, appended);
            recorded := appended;
        END LOOP;
        IF first IS NOT NULL THEN
            INSERT INTO wallet_feed (user_id, currency, first_version, last_version) VALUES (of_user, of_currency, first, recorded);
        END IF;
        -- Another call may have appended later ones.
        RETURN NEXT greatest(recorded, (SELECT version FROM wallet_asset_events
            WHERE user_id = of_user AND currency = of_currency ORDER BY version DESC LIMIT 1));
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION wallet_repair_events(of_user text, of_currency text, OUT events bigint, OUT ranges bigint)
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    last_event bigint;
    missing record;
BEGIN
    IF NOT citus_is_coordinator() THEN
        RAISE EXCEPTION 'events are only recorded on the coordinator: connect to it';
    END IF;
    -- Two concurrent calls would append a range twice.
    PERFORM 1 FROM wallet_assets WHERE user_id = of_user AND currency = of_currency FOR NO KEY UPDATE;

    INSERT INTO wallet_asset_events
    SELECT *
    FROM wallet_entry_events AS entry
    WHERE user_id = of_user AND currency = of_currency
        AND NOT EXISTS (SELECT 1 FROM wallet_asset_events AS known
            WHERE known.user_id = entry.user_id AND known.currency = entry.currency AND known.version = entry.version)
    ORDER BY version
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS events = ROW_COUNT;

    last_event := (SELECT version FROM wallet_asset_events
        WHERE user_id = of_user AND currency = of_currency ORDER BY version DESC LIMIT 1);
    ranges := 0;
    FOR missing IN
        SELECT min(version) AS first, max(version) AS last
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
        ORDER BY 1
    LOOP
        INSERT INTO wallet_feed (user_id, currency, first_version, last_version) VALUES (of_user, of_currency, missing.first, missing.last);
        ranges := ranges + 1;
    END LOOP;
END
$$;

-- A transaction whose session on the coordinator was cut off can still commit on a node, and one
-- that is prepared there commits later. It holds a lock on the shard until it is visible.
CREATE OR REPLACE FUNCTION wallet_feed_node_writers() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    node record;
BEGIN
    FOR node IN
        SELECT nodeid, success, result
        FROM run_command_on_all_nodes($command$
            SELECT coalesce(string_agg(virtualtransaction, ' '), '')
            FROM pg_locks AS l
            JOIN pg_class AS c ON c.oid = l.relation
            WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND relname ~ '^wallet_feed_[0-9]+$'
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            $command$)
    LOOP
        IF NOT node.success THEN
            RAISE EXCEPTION 'node % does not say who is writing to the feed: %', node.nodeid, node.result;
        END IF;
        RETURN QUERY SELECT node.nodeid || ':' || writer FROM unnest(string_to_array(node.result, ' ')) AS writer;
    END LOOP;
END
$$;

-- As in 00002_roles_and_feed.sql; their rights stay.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION wallet_record_events(text[], text[]) SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION wallet_repair_events(text, text)     SET search_path = %I, pg_temp', current_schema());
END
$$;
