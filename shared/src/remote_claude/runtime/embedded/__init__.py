"""`nats-server` and PostgreSQL as supervised children, with their data in `RCLAUDE_HOME`."""
