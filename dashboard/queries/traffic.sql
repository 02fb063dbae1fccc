-- Transactions by time, source and country. A whole day comes from the daily summary where that was computed after its end and no late
-- events are to be expected any more; everything else is counted now.
with steps as (
    select
        at,
        at + %(step)s as until,
        %(step)s = interval '1 day' and at < %(settled)s and exists (
            select from fraud.daily_fraud_summary
            where day = (at at time zone 'UTC')::date and computed_at >= at + %(step)s
        ) as is_summed
    from generate_series(%(start)s, %(end)s - %(step)s, %(step)s) as series (at)
)
select steps.at, source, country, transactions, amount, reviewed, blocked
from steps
cross join lateral (
    select source, country, transactions, amount::double precision as amount, reviewed, blocked
    from fraud.daily_fraud_summary
    where steps.is_summed and day = (steps.at at time zone 'UTC')::date
    union all
    select
        source,
        coalesce(country, 'ZZ'),
        count(*),
        sum(amount)::double precision,
        count(*) filter (where decision = 'review'),
        count(*) filter (where decision = 'block')
    from fraud.fraud_predictions
    where not steps.is_summed and occurred_at >= steps.at and occurred_at < steps.until
    group by 1, 2
) as counted
where
    (%(source)s::text is null or source = %(source)s)
    and (%(country)s::text is null or country = %(country)s)
order by steps.at, source, country
