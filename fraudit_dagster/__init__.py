"""fraudit: the composition root (definitions, settings, cli) and the domain.

The domain modules are plain Python: they import neither Dagster nor boto3.
"""
