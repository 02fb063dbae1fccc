"""``python -m fraudit_dagster.cli`` is the command ``fraudit``."""

from fraudit_dagster.cli.app import main

main()
