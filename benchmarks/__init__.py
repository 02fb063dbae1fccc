"""Speed, measured beside named peers in the same run: ``python -m benchmarks``, or ``make bench``.

Belongs here: one module for each subject, and what they share: ``measure`` (repetitions and statistics), ``servers`` (processes),
``load`` (HTTP), ``report`` (what is shown and written). Does not: whether the project is right, which the tests say; these hold no
limit of time. ``peers`` has the programs that run in an environment of their own (docs/decisions/0008-benchmarks.md).
"""
