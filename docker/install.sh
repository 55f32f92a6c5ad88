#!/bin/sh
# Installs one lock into /opt/venv, from wheels only: an image needs no compiler. Usage: install.sh LOCK [cpu]
set -eu
cd /locks

lock="$1.lock"
if [ "${2:-cuda}" = cpu ]; then
    grep -v -E '^(cuda-|nvidia-|triton==)' "$lock" > cpu.lock
    lock=cpu.lock
fi
# The locks are complete; kfp asks for far more than its executor imports.
python3 -m pip --python /opt/venv/bin/python3 install --no-cache-dir --no-deps --only-binary :all: -r "$lock"
[ "$1" = mlflow ] ||
    python3 -m pip --python /opt/venv/bin/python3 install --no-cache-dir --no-deps --only-binary :all: -r kfp.lock

case "$1" in
    extract) check='import av, kfp.dsl.executor_main, minio, mlflow' ;;
    train) check='import av, kfp.dsl.executor_main, matplotlib, minio, mlflow, torch, torchvision' ;;
    mlflow) check='import boto3, mlflow, psycopg2' ;;
esac
_KFP_RUNTIME=true /opt/venv/bin/python3 -c "$check"
