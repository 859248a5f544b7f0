"""What an operator does: one implementation for the commands and the API, one file a subject.

Operations are given what they work with (store, intake, clock) and return documents: the JSON that
`--json` prints and the API answers. They know no terminal and no HTTP.
"""
