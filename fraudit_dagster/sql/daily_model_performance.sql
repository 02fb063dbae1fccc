-- Replaces fraud.daily_model_performance for the UTC days from start to end (exclusive), both UTC midnights, at each of the ages (days) that
-- the labels of a day have reached by now. The row count is that of the new rows.
delete from fraud.daily_model_performance
where
    day >= (%(start)s::timestamptz at time zone 'UTC')::date
    and day < (%(end)s::timestamptz at time zone 'UTC')::date;

insert into fraud.daily_model_performance (
    day, contract, classifier_version, label_age_days, transactions, labelled, contradicted, frauds, true_positives, false_positives,
    precision, recall, average_precision, amount_saved, amount_lost
)
with decided as (
    select
        transaction_id,
        (occurred_at at time zone 'UTC')::date as day,
        contract,
        coalesce(classifier_version, 'none') as classifier_version,
        decision <> 'approve' as flagged,
        fraud_proba,
        amount
    from fraud.fraud_predictions
    where
        occurred_at >= %(start)s
        and occurred_at < %(end)s
),
judged as (
    -- Each day at each age, with the moment before which a label has to have been given.
    select day, contract, classifier_version, transactions, age, (day + 1 + age)::timestamp at time zone 'UTC' as until
    from (select day, contract, classifier_version, count(*) as transactions from decided group by 1, 2, 3) as counted
    cross join unnest(%(ages)s::integer[]) as age
    where (day + 1 + age)::timestamp at time zone 'UTC' <= now()
),
said as (
    -- Every label, and until when it was the latest; of two given at once a chargeback is believed before an analyst before a customer.
    select
        day,
        contract,
        classifier_version,
        flagged,
        fraud_proba,
        amount,
        label,
        labelled_at,
        lead(labelled_at, 1, 'infinity') over sources as overruled_at,
        min(label) over sources <> max(label) over sources as contradicted
    from decided
    inner join fraud.fraud_labels using (transaction_id)
    window sources as (partition by transaction_id order by labelled_at, array_position(array['customer', 'analyst', 'chargeback'], source))
),
by_score as (
    -- What is known of the transactions of one score.
    select
        day,
        contract,
        classifier_version,
        age,
        fraud_proba,
        count(*) as labelled,
        count(*) filter (where contradicted) as contradicted,
        sum(label) as frauds,
        count(*) filter (where flagged and label = 1) as true_positives,
        count(*) filter (where flagged and label = 0) as false_positives,
        coalesce(sum(amount) filter (where flagged and label = 1), 0) as saved,
        coalesce(sum(amount) filter (where not flagged and label = 1), 0) as lost
    from judged
    inner join said using (day, contract, classifier_version)
    where
        labelled_at < until
        and overruled_at >= until
    group by 1, 2, 3, 4, 5
),
ranked as (
    select
        *,
        sum(frauds) over down as frauds_above,
        sum(labelled) over down as labelled_above
    from by_score
    window down as (partition by day, contract, classifier_version, age order by fraud_proba desc nulls last)
),
known as (
    -- The average precision is the area under the precision-recall curve as a step function: of those that have a score.
    select
        day,
        contract,
        classifier_version,
        age,
        sum(labelled) as labelled,
        sum(contradicted) as contradicted,
        sum(frauds) as frauds,
        sum(true_positives) as true_positives,
        sum(false_positives) as false_positives,
        sum(saved) as saved,
        sum(lost) as lost,
        sum(frauds * frauds_above / labelled_above::double precision) filter (where fraud_proba is not null) as area,
        sum(frauds) filter (where fraud_proba is not null) as scored_frauds,
        sum(labelled) filter (where fraud_proba is not null) as scored
    from ranked
    group by 1, 2, 3, 4
)
select
    day,
    contract,
    classifier_version,
    age,
    transactions,
    coalesce(labelled, 0),
    coalesce(contradicted, 0),
    coalesce(frauds, 0),
    coalesce(true_positives, 0),
    coalesce(false_positives, 0),
    true_positives / nullif(true_positives + false_positives, 0)::double precision,
    true_positives / nullif(frauds, 0)::double precision,
    case when scored_frauds between 1 and scored - 1 then area / scored_frauds end,
    coalesce(saved, 0),
    coalesce(lost, 0)
from judged
left join known using (day, contract, classifier_version, age);
