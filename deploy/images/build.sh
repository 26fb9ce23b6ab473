#!/usr/bin/env bash
# Build the product's images: `deploy/images/build.sh [TARGET...]`, by default all services, admin and worker.
# `development` is the image of compose.development.yaml.
# BASE names the base image; without one, deploy/images/base.sh makes it. PREFIX is put before each image's name.
set -euo pipefail
cd "$(dirname "$0")/../.."
prefix=${PREFIX:-remote-claude}
version=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -1)}
revision=${REVISION:-$(git rev-parse HEAD 2> /dev/null || echo unknown)}
[ -n "${BASE:-}" ] || { BASE=remote-claude/base; bash deploy/images/base.sh "$BASE"; }
docker buildx version > /dev/null 2>&1 || export DOCKER_BUILDKIT=0 # the classic builder builds the same files
[ $# -gt 0 ] || set -- auth users gateway scheduler billing runner admin worker
for name in "$@"; do
    case $name in
        admin | worker | development) target=$name ;;
        *) target=service ;;
    esac
    docker build --quiet --network "${BUILD_NETWORK:-host}" --file deploy/images/Dockerfile --target "$target" \
        --build-arg "BASE=$BASE" --build-arg "SERVICE=$name" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
        ${WORKER_AGENTS+--build-arg "WORKER_AGENTS=$WORKER_AGENTS"} \
        --tag "$prefix/$name:${TAG:-latest}" . > /dev/null
    echo "image: $prefix/$name:${TAG:-latest}"
done
