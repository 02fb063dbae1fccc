-- How long answers took, and from an answer to its row; by time, of at most 500 transactions each.
select
    series.at,
    percentile_disc(0.5) within group (order by latency_ms) as latency_p50_ms,
    percentile_disc(0.95) within group (order by latency_ms) as latency_p95_ms,
    percentile_disc(0.5) within group (order by delay_ms) as delay_p50_ms,
    percentile_disc(0.95) within group (order by delay_ms) as delay_p95_ms
from generate_series(%(start)s, %(end)s - %(step)s, %(step)s) as series (at)
cross join lateral (
    select source, country, latency_ms, date_part('epoch', stored_at - scored_at) * 1000 as delay_ms
    from fraud.fraud_predictions
    where occurred_at >= series.at and occurred_at < series.at + %(step)s
    order by occurred_at desc
    limit 500
) as newest
where
    (%(source)s::text is null or source = %(source)s)
    and (%(country)s::text is null or coalesce(country, 'ZZ') = %(country)s)
group by series.at
order by series.at
