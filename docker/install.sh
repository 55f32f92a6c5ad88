#!/bin/sh
# Installs one lock from wheels alone, so that an image needs no compiler: torch.lock into /opt/torch, another one
# into /opt/venv. Usage: install.sh LOCK [cpu]
set -eu
cd /locks

lock="$1.lock"
if [ "${2:-cuda}" = cpu ]; then
    grep -v -E '^(cuda-|nvidia-)' "$lock" > /tmp/cpu.lock
    lock=/tmp/cpu.lock
fi
case "$1" in
    torch) into='install --target /opt/torch' ;;
    *) into='--python /opt/venv/bin/python3 install' ;;
esac
# The locks are complete; and kfp asks for far more than its executor imports.
python3 -m pip $into --no-cache-dir --no-deps --only-binary :all: -r "$lock"
if [ -f kfp.lock ]; then
    python3 -m pip $into --no-cache-dir --no-deps --only-binary :all: -r kfp.lock
fi
