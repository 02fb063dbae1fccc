"""S3, IAM, SNS, SQS, Secrets Manager, SSM and Logs: moto's server, with a memory that survives it.

Belongs here: keeping on disk what moto acknowledged, and putting it into a fresh moto. Does not: what an action of AWS does; moto does
all of it, and none of its code is changed.

Two things are kept below ``<state>/aws/``, because they grow differently: the requests that made or changed a topic, a queue, a secret,
a parameter, a role, a log group or a bucket (``journal``), which are made again at the start; and each object of S3 as it is now
(``objects``). What is written is not synced: it outlives the process, however it ends, and does not outlive a loss of power.

Not kept: messages in queues, log streams and their events, uploads that were not completed, versions of an object but the latest,
objects that moto writes of itself (access logs), roles assumed through STS, and all that moto's other services hold. What the journal makes again has the time of the start as its time of creation.

Run as ``python -m localaws.small_services --port P --state DIR``.
"""
