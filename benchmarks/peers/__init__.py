"""The peers' programs, run by the Python of ``benchmarks/requirements.lock``. Nothing of the project imports them."""
