#!/bin/sh
# Make the secrets and certificates of an installation in /secrets, each once. Runs in the admin image, as root.
# What exists stays. To renew a certificate, remove its .pem and run `docker compose run --rm prepare` again.
set -eu
umask 077
cd /secrets
mkdir -p shared seeds settings billing
services="auth users gateway scheduler billing runner"

if [ ! -f ca.key ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=Remote Claude internal authority" \
        -keyout ca.key -out ca.pem 2> /dev/null
fi
for name in nats postgres; do
    [ -f "$name.pem" ] && continue
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" -keyout "$name.key" -out "$name.csr" 2> /dev/null
    printf 'subjectAltName=DNS:%s,DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n' "$name" > "$name.ext"
    openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 825 -extfile "$name.ext" -out "$name.pem" 2> /dev/null
    rm "$name.csr" "$name.ext"
done
[ -f shared/kek ] || python -c 'from pathlib import Path; from remote_claude.access.kek import create_kek; create_kek(Path("shared/kek"))'
[ -f postgres_password ] || openssl rand -hex 24 | tr -d '\n' > postgres_password
printf 'postgres:5432:*:rclaude:%s\n' "$(cat postgres_password)" > shared/pgpass

# What signs exported invoices.
if [ ! -f billing/key ]; then
    openssl genpkey -algorithm ed25519 -out billing/key
    openssl pkey -in billing/key -pubout -out billing/key.pub
fi
[ -f grafana_password ] || openssl rand -hex 16 | tr -d '\n' > grafana_password

# Filled in by the operator: settings and secrets of each service, and the model's key.
touch anthropic_api_key
for name in $services; do touch "settings/$name.toml"; done

rclaude-admin broker accounts seeds > accounts.new
mv accounts.new accounts.conf

# The services run as user 10001 and read their own files only; broker and database start as root.
cp ca.pem shared/ca.pem
chown -R 10001:10001 shared billing
chown 10001:10001 anthropic_api_key /sandboxes
chown 472 grafana_password # Grafana's own user
chmod 711 /sandboxes
for name in $services admin; do chown 10001:10001 "seeds/$name.nk"; done
for name in $services; do chown 10001:10001 "settings/$name.toml"; done
chmod 711 . seeds settings
chmod 644 shared/ca.pem nats.pem postgres.pem
echo "prepare: secrets and certificates are there"
