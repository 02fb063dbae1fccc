"""Commands for people who change the project."""
