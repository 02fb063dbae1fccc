"""The Spark stream of fraudit: scored transactions from Kinesis to PostgreSQL, one row each."""
