"""AWS Glue for one machine: jobs whose runs are real: the script from S3, in a Python process of its own, with its Spark.

Belongs here: job definitions and tags, runs and their states, the process of a run. Does not: the wire (``localaws/wire.py``), or what
a script does.

States of a run, as AWS documents them ("AWS Glue job run statuses", "Maintenance windows for AWS Glue Streaming"):

========== ======================================================================================================================
WAITING    over ``MaxConcurrentRuns`` with ``JobRunQueuingEnabled``; starts in its turn when a run of the job ends
STARTING   its script, packages and virtual environment are being fetched
RUNNING    its process lives
STOPPING   it was asked to stop: SIGTERM for the script, some 20 s later the end of all that it started
STOPPED    ... and has
SUCCEEDED  the script ended with 0
FAILED     it ended otherwise, could not be launched, or this service was killed; up to ``MaxRetries`` new attempts follow
TIMEOUT    it ran for longer than ``Timeout`` minutes; no new attempt follows
EXPIRED    a streaming run without a timeout of less than seven days was restarted: SIGTERM, and a new run once it has ended
ERROR      the job was deleted while the run waited
========== ======================================================================================================================

What cannot arise: ERROR by a trigger or workflow, and WAITING or FAILED for want of capacity, since there is neither here.

Run as ``python -m localaws.glue --port P --state DIR``; S3 is reached through ``AWS_ENDPOINT_URL``.
"""
