#!/usr/bin/env bash
# Make a base image without an image registry: `deploy/images/base.sh [IMAGE]`, by default remote-claude/base.
#
# debootstrap installs a small Debian with Python, Git and tini; `docker import` makes an image of it (a minute, once).
# The image trusts the certificate authorities of this machine, so that builds work behind a TLS proxy.
# With a registry at hand, leave this out: every Dockerfile here takes BASE as a build argument.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
image=${1:-remote-claude/base}
packages=python3,python3-venv,git,ca-certificates,tini,curl,openssl

if docker image inspect "$image" > /dev/null 2>&1; then
    echo "base: $image exists"
    exit 0
fi
command -v debootstrap > /dev/null || { echo "base: debootstrap is missing. Install it: apt-get install debootstrap" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "base: debootstrap needs root. Run this as root" >&2; exit 2; }

root=$(mktemp -d /tmp/remote-claude-base.XXXXXX)
trap 'rm -rf --one-file-system "$root" "$root.log"' EXIT
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(apt-get indextargets --format '$(REPO_URI)' "Codename: $suite" | head -1)
echo "base: making $image from Debian $suite (a minute, once)"
if ! debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$mirror" > "$root.log" 2>&1; then
    tail -20 "$root.log" >&2
    exit 1
fi
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
tar -C "$root" --exclude=./var/cache/apt --exclude=./var/lib/apt/lists --exclude=./usr/share/doc --exclude=./usr/share/man \
    --exclude=./dev --exclude=./proc --exclude=./sys -c . | docker import - "$image" > /dev/null
