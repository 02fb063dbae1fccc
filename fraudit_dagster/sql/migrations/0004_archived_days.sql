-- Retention: a day may go from the tables once an archive has it, and by one way only, which nobody but the owner can go around.

create table fraud.archived_days (
    day         date primary key,
    uri         text not null,
    rows        bigint not null check (rows >= 0),
    quarantined bigint not null check (quarantined >= 0),
    checksum    text not null,
    archived_at timestamptz not null,
    dropped_at  timestamptz
);

comment on table fraud.archived_days is
    'UTC days whose rows are in files: transactions by occurred_at with their labels, quarantined events by arrived_at.';
comment on column fraud.archived_days.rows is 'Transactions in the files.';
comment on column fraud.archived_days.quarantined is 'Quarantined events in the files.';
comment on column fraud.archived_days.archived_at is 'Everything of the day that was stored before this moment is in the files.';
comment on column fraud.archived_days.dropped_at is 'When the first of its rows was deleted; null: all are there.';

-- The existing rows get the moment of this migration, without a rewrite of the table.
alter table fraud.quarantined_events add column stored_at timestamptz not null default now();
alter table fraud.quarantined_events alter column stored_at set default clock_timestamp();

-- Deletes at most at_most transactions of an archived day, with their labels, and as many quarantined events, and returns how many both
-- were: to be called, each time in a transaction of its own, until that is 0. What was stored after the archive was made stays, and so does
-- a later label of an archived transaction.
create function fraud.drop_archived(wanted date, at_most integer) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    from_time constant timestamptz := wanted::timestamp at time zone 'UTC';
    to_time   constant timestamptz := (wanted + 1)::timestamp at time zone 'UTC';
    archive fraud.archived_days;
    transactions bigint;
    events bigint;
begin
    select * into archive from fraud.archived_days where day = wanted for update;
    if not found then
        raise exception 'the day % is not archived', wanted using errcode = 'no_data_found';
    end if;
    if archive.dropped_at is null then
        select count(*) into transactions from fraud.fraud_predictions
        where occurred_at >= from_time and occurred_at < to_time and stored_at < archive.archived_at;
        select count(*) into events from fraud.quarantined_events
        where arrived_at >= from_time and arrived_at < to_time and stored_at < archive.archived_at;
        if transactions <> archive.rows or events <> archive.quarantined then
            raise exception 'the archive of % has % transactions and % quarantined events, the warehouse % and %: archive it anew',
                wanted, archive.rows, archive.quarantined, transactions, events
                using errcode = 'object_not_in_prerequisite_state';
        end if;
        update fraud.archived_days set dropped_at = clock_timestamp() where day = wanted;
    end if;

    with chosen as (
        select transaction_id from fraud.fraud_predictions
        where occurred_at >= from_time and occurred_at < to_time and stored_at < archive.archived_at
        order by occurred_at
        limit at_most
    ), gone as (
        delete from fraud.fraud_predictions using chosen
        where fraud_predictions.transaction_id = chosen.transaction_id
        returning fraud_predictions.transaction_id
    ), unlabelled as (
        delete from fraud.fraud_labels using gone
        where fraud_labels.transaction_id = gone.transaction_id and fraud_labels.stored_at < archive.archived_at
    )
    select count(*) into transactions from gone;

    with chosen as (
        select shard_id, sequence_number from fraud.quarantined_events
        where arrived_at >= from_time and arrived_at < to_time and stored_at < archive.archived_at
        order by arrived_at
        limit at_most
    )
    delete from fraud.quarantined_events using chosen
    where quarantined_events.shard_id = chosen.shard_id and quarantined_events.sequence_number = chosen.sequence_number;
    get diagnostics events = row_count;
    return transactions + events;
end
$$;

revoke all on function fraud.drop_archived from public;
grant execute on function fraud.drop_archived to fraud_analyst;
grant select, insert, update on fraud.archived_days to fraud_analyst;
grant select on fraud.archived_days to fraud_reader;
