-- The events that were put aside, arrived from start to end (exclusive) and stored before archived_at, the oldest first.
-- Columns as in fraudit_dagster/archive.py: those of the table in their order.
select
    shard_id,
    sequence_number,
    raw,
    reason,
    detail,
    arrived_at,
    replayed_at,
    stored_at
from fraud.quarantined_events
where
    arrived_at >= %(start)s
    and arrived_at < %(end)s
    and stored_at < %(archived_at)s
order by arrived_at, shard_id, sequence_number;
