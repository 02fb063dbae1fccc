-- How probable fraud was, in steps of 0.02, of the newest 50,000 transactions.
select (least(width_bucket(fraud_proba, 0, 1, 50), 50) - 1) / 50.0::double precision as score, decision, count(*) as transactions
from (
    select fraud_proba, decision, source, country
    from fraud.fraud_predictions
    where occurred_at >= %(start)s and occurred_at < %(end)s
    order by occurred_at desc
    limit 50000
) as newest
where
    fraud_proba is not null
    and (%(source)s::text is null or source = %(source)s)
    and (%(country)s::text is null or coalesce(country, 'ZZ') = %(country)s)
group by 1, 2
order by 1, 2
