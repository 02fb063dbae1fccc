"""When the graph runs, and which part of it: jobs and schedules.

Belongs here: selections and times. Does not: assets or resources.
"""
