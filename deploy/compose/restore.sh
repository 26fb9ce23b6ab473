#!/usr/bin/env bash
# Restore a backup into an installation that has no data yet, and start it: `deploy/compose/restore.sh FOLDER`.
# FOLDER is what backup.sh wrote. With data present the commands refuse, and nothing is changed.
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
folder=$(cd "$1" && pwd)
cd "$(dirname "$0")"
[ ! -e secrets/shared/kek ] || { echo "restore: ./secrets has keys already. Move it away, or use another folder" >&2; exit 2; }
mkdir -p secrets
tar -C secrets -xf "$folder/secrets.tar"
docker compose up --detach --wait nats postgres
docker compose run --rm --no-TTY --no-deps --user 0:0 --volume "$folder:/backup:ro" --entrypoint sh admin -euc '
    tar -C /var/lib/remote-claude -xf /backup/files.tar
    rclaude-admin broker import-keys /backup/keys.jsonl
    rclaude-admin log import /backup/log.jsonl.gz
    rclaude-admin log restore
    rclaude-admin log verify'
docker compose up --detach --wait
echo "restore: the installation is up with the data of $folder"
