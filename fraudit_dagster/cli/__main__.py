"""``python -m fraudit_dagster.cli`` is the command ``fraudit``."""

from fraudit_dagster.cli import main

main()
