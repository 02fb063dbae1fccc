-- How far each input and each score lies from what the models were trained and judged on; where a manifest changed within a day, the farther.
select day, feature, max(rows) as rows, max(psi) as psi, max(ks) as ks
from fraud.daily_feature_drift
where day >= (%(start)s at time zone 'UTC')::date and day < (%(end)s at time zone 'UTC')
group by day, feature
order by day, feature
