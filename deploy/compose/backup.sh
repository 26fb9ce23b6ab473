#!/usr/bin/env bash
# Back up a running installation: `deploy/compose/backup.sh FOLDER`. Nothing is stopped.
# FOLDER gets log.jsonl.gz (the log with its hash chain), keys.jsonl (the wrapped data keys), files.tar (objects, heads) and
# secrets.tar. Move secrets.tar to a place of its own: with it and the rest, everything can be read.
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
mkdir -p -m 700 "$1"
folder=$(cd "$1" && pwd)
[ -z "$(ls -A "$folder")" ] || { echo "backup: $folder is not empty. Name a new folder" >&2; exit 2; }
cd "$(dirname "$0")"
docker compose run --rm --no-TTY --user 0:0 --volume "$folder:/backup" --volume "$PWD/secrets:/all-secrets:ro" --entrypoint sh admin -euc '
    n=0
    until rclaude-admin views --json | grep -q "\"kind\": \"archive\", \"position\": [0-9]*, \"lag\": 0,"; do
        n=$((n + 1)); [ $n -lt 60 ] || { echo "backup: the archive is behind the log. See the log of scheduler" >&2; exit 1; }
        sleep 1
    done
    rclaude-admin log verify
    rclaude-admin log head
    rclaude-admin log export /backup/log.jsonl.gz
    rclaude-admin broker export-keys /backup/keys.jsonl
    tar -C /var/lib/remote-claude -cf /backup/files.tar objects heads
    tar -C /all-secrets -cf /backup/secrets.tar .'
echo "backup: $folder is complete. Move secrets.tar to a place of its own"
