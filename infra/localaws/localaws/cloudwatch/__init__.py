"""Amazon CloudWatch for one machine: metrics, alarms that fire, and the logs of all services shipped to CloudWatch Logs.

Belongs here: metric data, the evaluation of alarms, embedded metrics in log lines, following log files. Does not: keeping log events
(moto's CloudWatch Logs does), delivering a notification (moto's SNS does), or any metric's meaning.

Run as ``python -m localaws.cloudwatch --port P --state DIR``; Logs and SNS are reached through ``AWS_ENDPOINT_URL``.
"""
