#!/bin/sh
# Print the Secrets of an installation: `deploy/k8s/secrets.sh FOLDER NAMESPACE | kubectl apply -f -`.
# Keys, certificates and passwords are made in FOLDER, each once; keep it safe and out of any repository. A file FOLDER/dsn
# names a PostgreSQL of your own. Needs openssl, kubectl, and rclaude-admin with its Python (`make install` makes .venv/bin).
set -eu
umask 077
folder=$1 namespace=$2
mkdir -p "$folder" && cd "$folder"

[ -f ca.key ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
    -subj "/CN=Remote Claude internal authority" -keyout ca.key -out ca.pem 2> /dev/null
certificate() { # NAME SUBJECT-ALTERNATIVE-NAMES
    [ -f "$1.pem" ] && return
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$1.key" -out "$1.csr" 2> /dev/null
    printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$2" > "$1.ext"
    openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 825 -extfile "$1.ext" -out "$1.pem" 2> /dev/null
    rm "$1.csr" "$1.ext"
}
certificate nats DNS:nats,DNS:nats-0.nats-nodes,DNS:nats-1.nats-nodes,DNS:nats-2.nats-nodes,DNS:localhost
certificate postgres DNS:postgres,DNS:localhost
certificate gateway DNS:localhost
[ -f kek ] || python3 -c 'from pathlib import Path; from remote_claude.access.kek import create_kek; create_kek(Path("kek"))'
[ -f billing_key ] || { openssl genpkey -algorithm ed25519 -out billing_key && openssl pkey -in billing_key -pubout -out billing_key.pub; }
[ -f password ] || openssl rand -hex 24 | tr -d '\n' > password
[ -f dsn ] || printf 'postgresql://rclaude:%s@postgres/rclaude?sslmode=verify-full&sslrootcert=/run/secrets/ca.pem' "$(cat password)" > dsn
rclaude-admin broker accounts seeds > accounts.new && mv accounts.new accounts.conf

secret() { # NAME OPTIONS...
    kubectl create secret generic "$@" --namespace "$namespace" --dry-run=client --output yaml
    echo ---
}
pair() { # NAME FILES
    secret "$1" --type=kubernetes.io/tls --from-file=tls.crt="$2.pem" --from-file=tls.key="$2.key"
}
secret authority --from-file=ca.pem
secret kek --from-file=kek
secret billing-key --from-file=key=billing_key --from-file=key.pub=billing_key.pub
secret broker-accounts --from-file=accounts.conf
for name in auth users gateway scheduler billing runner admin; do  # who the process is to the broker, and to the database
    certificate "client-$name" "DNS:$name"
    secret "seed-$name" --from-file=seed="seeds/$name.nk" --from-file=tls.crt="client-$name.pem" --from-file=tls.key="client-$name.key"
done
pair nats-tls nats
secret postgres --from-file=dsn --from-file=password
pair postgres-tls postgres
[ "${EDGE:-self-signed}" = cert-manager ] || pair gateway-tls gateway
