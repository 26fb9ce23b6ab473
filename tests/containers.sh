#!/usr/bin/env bash
# Run the store suites against servers in containers: `tests/containers.sh [PYTEST ARGUMENT...]`.
#
# An engine that runs is used. Where there is none, Debian's docker.io is installed and a dockerd of our own started,
# apart from any other (its own socket, and no change to the machine's firewall), and ended afterwards.
# RCLAUDE_TEST_NATS_IMAGE and RCLAUDE_TEST_POSTGRES_IMAGE name images to use; else two are built on a Debian base that
# debootstrap makes, so that no image registry is needed. They are kept for the next run.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin

cache=${RCLAUDE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/remote-claude/containers}
python=.venv/bin/python
prefix=remote-claude-test
dockerd_pid=
export DOCKER_BUILDKIT=0 # buildx may be missing, and the two images need nothing of it

say() { echo "containers: $*" >&2; }

need() { # PROGRAM PACKAGE...
    command -v "$1" > /dev/null && return
    shift
    if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
        say "needs $* (or a Docker engine that runs): install it, or run this as root on Debian"
        exit 2
    fi
    say "installing $*"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" > /dev/null
}

end() {
    local status=$?
    trap - EXIT
    docker ps -aq --filter "label=$prefix" 2> /dev/null | xargs -r docker rm -fv > /dev/null || true
    if [ -n "$dockerd_pid" ]; then
        kill "$dockerd_pid"
        wait "$dockerd_pid" || true
        [ "$had_bridge" = yes ] || ip link delete docker0 2> /dev/null || true
        find /sys/fs/cgroup -depth -type d -path "*/$prefix-$$*" -exec rmdir {} + 2> /dev/null || true
        rm -rf "$run"
        say "dockerd ended"
    fi
    exit $status
}
trap end EXIT
trap 'exit 130' INT TERM

start_engine() {
    need dockerd docker.io iptables
    need ip iproute2
    need docker docker-cli
    run=$(mktemp -d /tmp/remote-claude-docker.XXXXXX)
    had_bridge=$([ -e /sys/class/net/docker0 ] && echo yes || echo no)
    mkdir -p "$cache/docker"
    export DOCKER_HOST=unix://$run/docker.sock
    # With version 1 control groups, containers go below our own: not everywhere may one create a group at the root.
    local group
    group=$(awk -F: '$2 == "memory" { print $3 }' /proc/self/cgroup)
    dockerd --data-root "$cache/docker" --exec-root "$run/exec" --pidfile "$run/pid" \
        --host "$DOCKER_HOST" ${group:+--cgroup-parent "${group%/}/$prefix-$$"} \
        --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false > "$run/log" 2>&1 &
    dockerd_pid=$!
    until docker info > /dev/null 2>&1; do
        kill -0 "$dockerd_pid" 2> /dev/null || { cat "$run/log" >&2; say "dockerd did not start"; exit 1; }
        sleep 0.1
    done
    say "dockerd $(docker version --format '{{.Server.Version}}') started"
}

has() { docker image inspect "$1" > /dev/null 2>&1; }

make_base() {
    need debootstrap debootstrap
    local root suite mirror
    root=$(mktemp -d /tmp/remote-claude-base.XXXXXX)
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    mirror=$(apt-get indextargets --format '$(REPO_URI)' "Codename: $suite" | head -1)
    say "making a Debian $suite base with PostgreSQL (a minute or two, once)"
    if ! debootstrap --variant=minbase --include=postgresql "$suite" "$root" "$mirror" > "$root.log" 2>&1; then
        tail -20 "$root.log" >&2
        exit 1
    fi
    tar -C "$root" --exclude=./var/cache/apt --exclude=./var/lib/apt/lists --exclude=./usr/share/doc --exclude=./usr/share/man \
        --exclude=./dev --exclude=./proc --exclude=./sys -c . | docker import - "$prefix/base" > /dev/null
    rm -rf --one-file-system "$root" "$root.log"
}

build() { # NAME: from tests/containers/NAME.Dockerfile
    docker build --quiet --tag "$prefix/$1" --build-arg "BASE=$prefix/base" --file "$context/$1.Dockerfile" "$context" > /dev/null
    say "built $prefix/$1"
}

[ -x "$python" ] || { say "run \`make install\` first"; exit 2; }
docker info > /dev/null 2>&1 || start_engine

if [ -z "${RCLAUDE_TEST_NATS_IMAGE:-}" ] || [ -z "${RCLAUDE_TEST_POSTGRES_IMAGE:-}" ]; then
    has "$prefix/base" || make_base
    context=$(mktemp -d)
    cp tests/containers/* .venv/bin/nats-server "$context"
    [ -n "${RCLAUDE_TEST_NATS_IMAGE:-}" ] || build nats
    [ -n "${RCLAUDE_TEST_POSTGRES_IMAGE:-}" ] || build postgres
    rm -rf "$context"
fi

export RCLAUDE_TEST_NATS_IMAGE=${RCLAUDE_TEST_NATS_IMAGE:-$prefix/nats}
export RCLAUDE_TEST_POSTGRES_IMAGE=${RCLAUDE_TEST_POSTGRES_IMAGE:-$prefix/postgres}
export RCLAUDE_TEST_CONTAINERS=1 TESTCONTAINERS_RYUK_DISABLED=true
[ $# -gt 0 ] || set -- tests/eventsourcing tests/runtime/test_embedded_fixtures.py
say "running pytest $* against $RCLAUDE_TEST_NATS_IMAGE and $RCLAUDE_TEST_POSTGRES_IMAGE"
.venv/bin/pytest "$@"
