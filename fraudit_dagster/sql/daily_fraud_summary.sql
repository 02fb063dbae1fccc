-- Replaces fraud.daily_fraud_summary for the UTC days from start to end (exclusive), both UTC midnights. The row count is that of the new rows.
delete from fraud.daily_fraud_summary
where
    day >= (%(start)s::timestamptz at time zone 'UTC')::date
    and day < (%(end)s::timestamptz at time zone 'UTC')::date;

insert into fraud.daily_fraud_summary (
    day, source, country, transactions, amount, approved, reviewed, blocked, flagged, flagged_amount, degraded,
    mean_fraud_proba, mean_anomaly_score, delay_p50_ms, delay_p95_ms, delay_p99_ms
)
select
    (occurred_at at time zone 'UTC')::date,
    source,
    coalesce(country, 'ZZ'),
    count(*),
    sum(amount),
    count(*) filter (where decision = 'approve'),
    count(*) filter (where decision = 'review'),
    count(*) filter (where decision = 'block'),
    count(*) filter (where decision <> 'approve'),
    coalesce(sum(amount) filter (where decision <> 'approve'), 0),
    count(*) filter (where cardinality(degraded) > 0),
    avg(fraud_proba),
    avg(anomaly_score),
    percentile_cont(0.50) within group (order by extract(epoch from stored_at - scored_at) * 1000),
    percentile_cont(0.95) within group (order by extract(epoch from stored_at - scored_at) * 1000),
    percentile_cont(0.99) within group (order by extract(epoch from stored_at - scored_at) * 1000)
from fraud.fraud_predictions
where
    occurred_at >= %(start)s
    and occurred_at < %(end)s
group by 1, 2, 3;
