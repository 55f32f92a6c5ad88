#!/bin/sh
# Prints the image to build on: the one that is named, or where no registry gives it, a stand-in for it out of
# Debian's packages. Usage: base.sh IMAGE
set -eu
stand_in=localhost/privadv-base:bookworm

if podman image exists "$1" || timeout 60 podman pull --quiet "$1" > /dev/null 2>&1; then
    echo "$1"
    exit
fi
echo "no registry gives $1: a stand-in of Debian's Python 3.11 takes its place" >&2
if ! podman image exists "$stand_in"; then
    command -v mmdebstrap > /dev/null || { echo "mmdebstrap is needed to make it" >&2; exit 1; }
    made=$(mktemp -d)
    trap 'rm -rf "$made"' EXIT
    mmdebstrap --quiet --variant=minbase --include=python3.11,python3-pip,python3-venv,ca-certificates \
        bookworm "$made/base.tar" >&2
    podman import --quiet --change 'CMD ["python3"]' "$made/base.tar" "$stand_in" > /dev/null
fi
echo "$stand_in"
