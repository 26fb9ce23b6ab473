#!/bin/sh
# As much of the official image's entrypoint as the tests use: POSTGRES_USER, _PASSWORD, _DB, and `postgres` with options.
set -eu
bin=$(echo /usr/lib/postgresql/*/bin)
data=/var/lib/postgresql/data
as_postgres() { setpriv --reuid postgres --regid postgres --init-groups "$@"; }

if [ ! -e "$data/PG_VERSION" ]; then
    install -d -o postgres -g postgres -m 700 "$data"
    secret=$(mktemp)
    if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then cat "$POSTGRES_PASSWORD_FILE"; else echo "$POSTGRES_PASSWORD"; fi > "$secret"
    chown postgres "$secret"
    as_postgres "$bin/initdb" -D "$data" -U "$POSTGRES_USER" --pwfile "$secret" --auth scram-sha-256 -E UTF8 --no-locale -N
    rm "$secret"
    echo "host all all all scram-sha-256" >> "$data/pg_hba.conf"
    echo "CREATE DATABASE $POSTGRES_DB" | as_postgres "$bin/postgres" --single -F -D "$data" postgres
fi
shift
exec setpriv --reuid postgres --regid postgres --init-groups "$bin/postgres" -D "$data" -c listen_addresses='*' "$@"
