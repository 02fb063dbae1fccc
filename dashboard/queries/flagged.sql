-- The newest flagged transactions, without what tells who made them.
select
    occurred_at,
    decision,
    amount::double precision as amount,
    fraud_proba,
    anomaly_score,
    source,
    coalesce(country, 'ZZ') as country,
    transaction_id
from fraud.fraud_predictions
where
    decision <> 'approve' and occurred_at >= %(start)s and occurred_at < %(end)s
    and (%(source)s::text is null or source = %(source)s)
    and (%(country)s::text is null or coalesce(country, 'ZZ') = %(country)s)
order by occurred_at desc
limit 50
