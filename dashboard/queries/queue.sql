-- Flagged transactions that no analyst has judged yet, the newest first, with what others say of them.
select
    transaction_id,
    occurred_at,
    decision,
    amount::double precision as amount,
    fraud_proba,
    anomaly_score,
    source,
    coalesce(country, 'ZZ') as country,
    city,
    user_id,
    device_type,
    classifier_version,
    reasons,
    degraded,
    (
        select string_agg(l.source || ': ' || case l.label when 1 then 'fraud' else 'not fraud' end, ', ' order by l.source)
        from fraud.fraud_labels as l
        where l.transaction_id = p.transaction_id
    ) as said
from fraud.fraud_predictions as p
where
    decision <> 'approve' and occurred_at >= %(start)s and occurred_at < %(end)s
    and (%(source)s::text is null or source = %(source)s)
    and (%(country)s::text is null or coalesce(country, 'ZZ') = %(country)s)
    and not exists (
        select from fraud.fraud_labels as l
        where l.transaction_id = p.transaction_id and l.source = 'analyst'
    )
order by occurred_at desc
limit 50
