"""The two built-in algorithms of SageMaker that exist here, each a program under the container contract.

Belongs here: ``python -m localaws.algorithms.<name> train|serve``, what they compute and the files they write.
Does not: jobs, endpoints, S3 (``localaws/sagemaker``); an algorithm sees one folder and one port.
"""
