-- Who may do what. The owner of everything is the role that migrates (on AWS the master user of RDS), and no service logs in as it.
-- Roles belong to the server, not to one database: they are made where they are missing, without a login, which `fraudit warehouse migrate`
-- gives them with the passwords of their secrets. A migration that adds a table says who may read it.

do $$
declare
    role text;
begin
    -- By default everybody may connect and make temporary tables.
    execute format('revoke all on database %I from public', current_database());
    foreach role in array array['fraud_writer', 'fraud_analyst', 'fraud_reader'] loop
        if not exists (select from pg_roles where rolname = role) then
            execute format('create role %I', role);
        end if;
        execute format('grant connect on database %I to %I', current_database(), role);
    end loop;
    execute format('grant temporary on database %I to fraud_writer', current_database());
end
$$;
revoke all on schema public from public;
grant usage on schema fraud to fraud_writer, fraud_analyst, fraud_reader;

-- The stream. It adds; it changes what a later label says and where a quarantined event stands; it removes nothing.
alter role fraud_writer set statement_timeout = '120s';
alter role fraud_writer set lock_timeout = '30s';
alter role fraud_writer set idle_in_transaction_session_timeout = '60s';
grant select, insert on fraud.fraud_predictions, fraud.fraud_labels, fraud.quarantined_events, fraud.stream_batches to fraud_writer;
grant update (label, labelled_at, stored_at) on fraud.fraud_labels to fraud_writer;
grant update (reason, detail, replayed_at) on fraud.quarantined_events to fraud_writer;

-- The graph. It reads everything and replaces the days of the daily tables.
alter role fraud_analyst set statement_timeout = '10min';
alter role fraud_analyst set lock_timeout = '30s';
alter role fraud_analyst set idle_in_transaction_session_timeout = '5min';
grant select on all tables in schema fraud to fraud_analyst;
grant insert, update, delete on fraud.daily_fraud_summary, fraud.daily_model_performance, fraud.daily_feature_drift to fraud_analyst;

-- The dashboard, and people.
alter role fraud_reader set default_transaction_read_only = on;
alter role fraud_reader set statement_timeout = '15s';
alter role fraud_reader set lock_timeout = '2s';
alter role fraud_reader set idle_in_transaction_session_timeout = '30s';
grant select on all tables in schema fraud to fraud_reader;
