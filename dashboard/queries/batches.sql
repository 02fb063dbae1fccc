-- What the stream stored, by the time that it did.
select
    date_bin(%(step)s, stored_at, %(start)s) as at,
    count(*) as batches,
    sum(records) as records,
    sum(predictions) as predictions,
    sum(labels) as labels,
    sum(duplicates) as duplicates,
    sum(quarantined) as quarantined,
    max(max_lag_ms) / 1000.0::double precision as lag_s
from fraud.stream_batches
where stored_at >= %(start)s and stored_at < %(end)s
group by 1
order by 1
