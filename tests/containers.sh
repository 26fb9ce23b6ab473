#!/usr/bin/env bash
# Run the store suites against servers in containers: `tests/containers.sh [PYTEST ARGUMENT...]`.
#
# An engine that runs is used; otherwise tests/docker_host.py starts one. RCLAUDE_TEST_NATS_IMAGE and
# RCLAUDE_TEST_POSTGRES_IMAGE name images to use; otherwise two are built on a Debian base, so that no image registry is
# needed. They are kept for the next run.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x .venv/bin/python ] || { echo "containers: run \`make install\` first" >&2; exit 2; }
if [ "${1:-}" != --inside ]; then
    exec env PYTHONPATH=tests .venv/bin/python tests/docker_host.py bash tests/containers.sh --inside "$@"
fi
shift
prefix=remote-claude-test
trap 'docker ps -aq --filter "label=$prefix" 2> /dev/null | xargs -r docker rm -fv > /dev/null || true' EXIT

build() { # NAME: from tests/containers/NAME.Dockerfile
    DOCKER_BUILDKIT=0 docker build --quiet --network host --tag "$prefix/$1" --build-arg BASE=remote-claude/base \
        --file "$context/$1.Dockerfile" "$context" > /dev/null
    echo "containers: built $prefix/$1" >&2
}

if [ -z "${RCLAUDE_TEST_NATS_IMAGE:-}" ] || [ -z "${RCLAUDE_TEST_POSTGRES_IMAGE:-}" ]; then
    bash deploy/images/base.sh
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
echo "containers: pytest $* against $RCLAUDE_TEST_NATS_IMAGE and $RCLAUDE_TEST_POSTGRES_IMAGE" >&2
.venv/bin/pytest "$@"
