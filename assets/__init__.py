"""The asset graph, one module per group.

Belongs here: what each thing is and how it is made from the things before it. Does not: mathematics (``fraudit_dagster/``),
calls of a service (``resources/``), when things run (``jobs/``).
"""
