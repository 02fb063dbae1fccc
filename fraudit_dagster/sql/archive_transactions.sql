-- The transactions that occurred from start to end (exclusive) and were stored before archived_at, the oldest first, each with what was
-- known of it by then. Columns as in fraudit_dagster/archive.py: those of the table in their order, then the labels.
-- Of several labels the latest counts; of equally late ones the chargeback, then the analyst's.
select
    transaction_id,
    event_id::text,
    run_id,
    occurred_at,
    scored_at,
    fraud_predictions.stored_at,
    user_id,
    fraud_predictions.source,
    device_type,
    os_version,
    app_version,
    ip_address,
    country,
    region,
    city,
    latitude,
    longitude,
    hour,
    weekday,
    amount::text,
    amount_band,
    contract,
    manifest_version,
    classifier_version,
    detector_version,
    features,
    fraud_proba,
    fraud_prediction,
    anomaly_score,
    decision,
    reasons::text,
    degraded,
    latency_ms,
    newest.label,
    newest.source as label_source,
    newest.labelled_at,
    every.labels::text
from fraud.fraud_predictions
left join lateral (
    select label, source, labelled_at
    from fraud.fraud_labels
    where fraud_labels.transaction_id = fraud_predictions.transaction_id and fraud_labels.stored_at < %(archived_at)s
    order by labelled_at desc, array_position(array['chargeback', 'analyst', 'customer'], source)
    limit 1
) as newest on true
left join lateral (
    select json_agg(json_build_object('source', source, 'label', label, 'labelled_at', labelled_at, 'stored_at', stored_at) order by source)
        as labels
    from fraud.fraud_labels
    where fraud_labels.transaction_id = fraud_predictions.transaction_id and fraud_labels.stored_at < %(archived_at)s
) as every on true
where
    occurred_at >= %(start)s
    and occurred_at < %(end)s
    and fraud_predictions.stored_at < %(archived_at)s
order by occurred_at, transaction_id;
