#!/usr/bin/env bash
# Installs what the tests need and the machine lacks: PostgreSQL's programs and its own tests, Python and Node
# drivers, a newer PostgreSQL. With the argument `postgres` only the first, `drivers` only the drivers and the newer
# PostgreSQL, `suites` only PostgreSQL's tests; `bench`: PostgreSQL, PgBouncer and tools that count.
#
# Quick when everything is there. System packages come from apt (Debian and its kin); the drivers go into
# target/test-setup, at the versions that tests/drivers pins, and nowhere else; suites/setup.sh tells of its own.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
drivers=$root/tests/drivers
place=$root/target/test-setup

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
        die "needs root for: $*"
    fi
}

has_postgres() { compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null && command -v psql >/dev/null; }
has_venv() { python3 -c 'import venv, ensurepip' 2>/dev/null; }

missing=()
if [ "${1:-}" != drivers ]; then
    has_postgres || missing+=(postgresql)
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
fi
if [ "${1:-}" = bench ]; then
    [ -n "${PGBOUNCER:-}" ] || [ -x /usr/sbin/pgbouncer ] || missing+=(pgbouncer)
    command -v perf >/dev/null || missing+=(linux-perf)
    command -v valgrind >/dev/null || missing+=(valgrind)
    command -v strace >/dev/null || missing+=(strace)
elif [ "${1:-}" != postgres ]; then
    command -v bzip2 >/dev/null || missing+=(bzip2)
    has_venv || missing+=(python3 python3-venv)
    command -v node >/dev/null || missing+=(nodejs)
    command -v npm >/dev/null || missing+=(npm)
    command -v curl >/dev/null || missing+=(curl)
fi

if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null || die "please install: ${missing[*]} (PostgreSQL below /usr/lib/postgresql)"
    say "installing ${missing[*]}"
    # The tests make clusters of their own; Debian's default one would only take port 5432.
    conf=/etc/postgresql-common/createcluster.conf
    if [[ " ${missing[*]} " == *" postgresql "* ]] && [ ! -e "$conf" ]; then
        as_root mkdir -p "${conf%/*}"
        echo 'create_main_cluster = false' | as_root tee "$conf" >/dev/null
    fi
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        -o Dpkg::Options::=--force-confold "${missing[@]}" >/dev/null
    has_postgres || die 'PostgreSQL is still not below /usr/lib/postgresql'
    # Debian's PgBouncer would run on, and is not the one that is measured.
    if [[ " ${missing[*]} " == *" pgbouncer "* ]] && [ -d /run/systemd/system ]; then
        as_root systemctl disable --now --quiet pgbouncer
    fi
fi

case "${1:-}" in postgres | bench) exit 0 ;; drivers) ;; *) "$root/tests/suites/setup.sh" ;; esac
[ "${1:-}" != suites ] || exit 0

# The stamp names what is installed; another list of versions, another stamp.
stamp=$(cat "$drivers/requirements.txt" "$drivers/package-lock.json" | sha256sum | cut -d' ' -f1)
if [ "$(cat "$place/stamp" 2>/dev/null || true)" = "$stamp" ] && "$place/venv/bin/python" -c '' 2>/dev/null; then
    exit 0
fi

say 'installing the drivers of tests/drivers into target/test-setup'
rm -rf "$place"
mkdir -p "$place/node"
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check -r "$drivers/requirements.txt"
cp "$drivers/package.json" "$drivers/package-lock.json" "$place/node/"
npm --prefix "$place/node" ci --silent --no-audit --no-fund
echo "$stamp" >"$place/stamp"
