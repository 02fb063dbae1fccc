-- Events that were none, by the reason; how many of them have been put back since.
select reason, count(*) as events, count(replayed_at) as replayed, max(arrived_at) as newest
from fraud.quarantined_events
where arrived_at >= %(start)s and arrived_at < %(end)s
group by reason
order by events desc
