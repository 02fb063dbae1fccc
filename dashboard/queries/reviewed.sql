-- How many flagged transactions wait for an analyst, and what analysts found of the others. Of the words that were just sent: those that
-- are not stored yet, each with the label that is.
select
    count(*) filter (where label is null) as waiting,
    coalesce(sum(amount) filter (where label is null), 0)::double precision as waiting_amount,
    count(*) filter (where label = 1) as frauds,
    count(*) filter (where label = 0) as good,
    coalesce(jsonb_object_agg(p.transaction_id, label) filter (where sent.at > coalesce(labelled_at, '-infinity')), '{}') as on_their_way
from fraud.fraud_predictions as p
left join fraud.fraud_labels as l on l.transaction_id = p.transaction_id and l.source = 'analyst'
left join unnest(%(sent)s::text[], %(sent_at)s::timestamptz[]) as sent (transaction_id, at) on sent.transaction_id = p.transaction_id
where
    decision <> 'approve' and occurred_at >= %(start)s and occurred_at < %(end)s
    and (%(source)s::text is null or p.source = %(source)s)
    and (%(country)s::text is null or coalesce(country, 'ZZ') = %(country)s)
