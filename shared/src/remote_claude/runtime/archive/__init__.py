"""The log's archive: a hash-chained copy of every event in PostgreSQL, and what is built on it.

`copier` writes it, `heads` signs where it stood, `verify` holds broker, archive and heads against each other,
`restore` brings a broker back from it, `start` refuses a broker that has lost its tail.
"""
