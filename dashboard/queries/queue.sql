-- Flagged transactions that no analyst has judged yet, or that one has, the newest first, with what others say of them.
select
    p.transaction_id,
    occurred_at,
    decision,
    amount::double precision as amount,
    fraud_proba,
    anomaly_score,
    p.source,
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
        where l.transaction_id = p.transaction_id and l.source <> 'analyst'
    ) as said,
    judged.label as judged,
    judged.labelled_at as judged_at
from fraud.fraud_predictions as p
left join fraud.fraud_labels as judged on judged.transaction_id = p.transaction_id and judged.source = 'analyst'
where
    decision <> 'approve' and occurred_at >= %(start)s and occurred_at < %(end)s
    and (%(source)s::text is null or p.source = %(source)s)
    and (%(country)s::text is null or coalesce(country, 'ZZ') = %(country)s)
    and (judged.label is not null) = %(judged)s
order by occurred_at desc
limit 50
