-- What decisions were worth, by the labels known so many days after the day.
select
    day,
    classifier_version,
    label_age_days,
    transactions,
    labelled,
    frauds,
    precision,
    recall,
    average_precision,
    amount_saved::double precision as amount_saved,
    amount_lost::double precision as amount_lost
from fraud.daily_model_performance
where day >= (%(start)s at time zone 'UTC')::date and day < (%(end)s at time zone 'UTC')
order by day, classifier_version, label_age_days
