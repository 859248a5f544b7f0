"""What an operator does: one implementation for the commands and the API, one file per subject.

Operations take store, intake and clock as arguments and return documents: the JSON that `--json`
prints and the API returns. They know nothing of terminals and HTTP.
"""
