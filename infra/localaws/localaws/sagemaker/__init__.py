"""Amazon SageMaker for one machine: training jobs that train, endpoints that serve, and the model registry.

Belongs here: the control plane's records, the processes behind them, InvokeEndpoint. Does not: the algorithms, which run as
children under the container contract (``localaws/algorithms``); the wire (``localaws/wire.py``).

Run as ``python -m localaws.sagemaker --port P --state DIR``; S3 is reached through ``AWS_ENDPOINT_URL``.
"""
