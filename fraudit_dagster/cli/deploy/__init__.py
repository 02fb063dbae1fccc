"""``fraudit deploy``: from a clone to an account, in steps that can be repeated, each with a dry run.

A step is a module here. It looks at what is there and returns what it would change (``changes.Change``); the command shows that, and
carries it out unless it is a dry run. A step that finds nothing to change does nothing.
"""
