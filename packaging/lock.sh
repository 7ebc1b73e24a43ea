#!/bin/sh
# Write the lock files in requirements/ from pyproject.toml; versions already locked stay, unless
# --upgrade is given. Needs uv: `make lock` brings the locked one.
set -eu
cd "$(dirname "$0")/.."
uv=${UV:-build/lock/bin/uv}

compile() { # OUTPUT ARGUMENT...: resolve for the one platform the product is built for
    output=$1
    shift
    "$uv" pip compile --quiet --generate-hashes --no-annotate --no-build \
        --python-version 3.11 --python-platform x86_64-manylinux_2_36 \
        --custom-compile-command "make lock" --output-file "$output" "$@"
}

compile requirements/bootstrap.txt --group pyproject.toml:bootstrap "$@"
compile requirements/runtime.txt pyproject.toml "$@"
compile requirements/dev.txt --group pyproject.toml:dev \
    --constraint requirements/bootstrap.txt --constraint requirements/runtime.txt "$@"
compile requirements/lock.txt --group pyproject.toml:lock "$@"
