-- What the warehouse has of an archived day, from start to end (exclusive), that was stored at archived_at or later.
select
    (
        select count(*) from fraud.fraud_predictions
        where occurred_at >= %(start)s and occurred_at < %(end)s and stored_at >= %(archived_at)s
    ) as transactions,
    (
        select count(*)
        from fraud.fraud_labels
        join fraud.fraud_predictions using (transaction_id)
        where
            fraud_labels.stored_at >= %(archived_at)s
            and occurred_at >= %(start)s and occurred_at < %(end)s
            and fraud_predictions.stored_at < %(archived_at)s
    ) as labels,
    (
        select count(*) from fraud.quarantined_events
        where arrived_at >= %(start)s and arrived_at < %(end)s and stored_at >= %(archived_at)s
    ) as quarantined_events;
