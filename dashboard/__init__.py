"""The dashboard: what happens now, how good the models are, what waits for a person, and whether everything lives.

Belongs here: what is shown, and the SQL that counts it (``queries/``). Does not: computing what others need too; that is in the
daily tables (``assets/``) and the monitors (``resources/watch.py``).
"""
