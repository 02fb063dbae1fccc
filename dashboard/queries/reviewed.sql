-- How many flagged transactions wait for an analyst, and what analysts found of the others. Of the transactions that were just
-- judged: those whose label is not stored yet.
select
    count(*) filter (where label is null) as waiting,
    coalesce(sum(amount) filter (where label is null), 0)::double precision as waiting_amount,
    min(occurred_at) filter (where label is null) as oldest,
    count(*) filter (where label = 1) as frauds,
    count(*) filter (where label = 0) as good,
    coalesce(array_agg(p.transaction_id) filter (where label is null and p.transaction_id = any(%(sent)s)), '{}') as on_their_way
from fraud.fraud_predictions as p
left join fraud.fraud_labels as l on l.transaction_id = p.transaction_id and l.source = 'analyst'
where
    decision <> 'approve' and occurred_at >= %(start)s and occurred_at < %(end)s
    and (%(source)s::text is null or p.source = %(source)s)
    and (%(country)s::text is null or coalesce(country, 'ZZ') = %(country)s)
