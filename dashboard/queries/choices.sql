-- What can be filtered by: what the newest transactions have, and what the daily summary knows of earlier ones.
select source, coalesce(country, 'ZZ') as country
from (select source, country from fraud.fraud_predictions order by occurred_at desc limit 10000) as newest
union
select source, country from fraud.daily_fraud_summary
