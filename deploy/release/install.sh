#!/bin/sh
# Install rclaude for one user, from a release: curl -fsSL @URL@/install.sh | sh
# RCLAUDE_RELEASES names another address, RCLAUDE_BIN another folder than ~/.local/bin.
# Nothing is installed unless the signature of the checksums and the checksum of the program are right.
set -eu

fail() {
    echo "install.sh: $1" >&2
    exit 1
}

main() {
    url=${RCLAUDE_RELEASES:-@URL@}
    folder=${RCLAUDE_BIN:-$HOME/.local/bin}
    [ -n "$url" ] || fail "no address of releases: set RCLAUDE_RELEASES"
    platform="$(uname -s | tr '[:upper:]' '[:lower:]')-$(uname -m)"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    fetch SHA256SUMS
    fetch SHA256SUMS.sig
    verify
    line=$(grep -E "^[0-9a-f]{64}  rclaude-[0-9][0-9A-Za-z.]*-$platform\$" "$work/SHA256SUMS") ||
        fail "there is no rclaude for $platform: use 'pip install remote-claude'"
    name=${line#*  }
    fetch "$name"
    (cd "$work" && printf '%s\n' "$line" | sum) > /dev/null || fail "$name is not the file that was published: nothing was installed"
    mkdir -p "$folder"
    chmod 755 "$work/$name"
    cp "$work/$name" "$folder/.rclaude.new"
    mv "$folder/.rclaude.new" "$folder/rclaude"
    echo "installed: $folder/rclaude, $("$folder/rclaude" --version)"
    case ":$PATH:" in
        *":$folder:"*) ;;
        *) echo "$folder is not in PATH: add it, such as: export PATH=\"$folder:\$PATH\"" ;;
    esac
}

fetch() {
    if command -v curl > /dev/null; then
        curl --fail --silent --show-error --location --output "$work/$1" "$url/$1"
    else
        wget --quiet --output-document="$work/$1" "$url/$1"
    fi || fail "$url/$1 can't be loaded"
}

sum() {
    if command -v sha256sum > /dev/null; then sha256sum --check -; else shasum --algorithm 256 --check -; fi
}

verify() {
    command -v ssh-keygen > /dev/null || fail "ssh-keygen is needed to check the signature (Debian: apt-get install openssh-client)"
    echo '@SIGNERS@' > "$work/signers"
    ssh-keygen -Y verify -f "$work/signers" -I '@SIGNER@' -n '@NAMESPACE@' -s "$work/SHA256SUMS.sig" \
        < "$work/SHA256SUMS" > /dev/null 2>&1 || fail "the signature of SHA256SUMS is wrong: nothing was installed"
}

main
