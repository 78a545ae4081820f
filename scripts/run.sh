#!/usr/bin/env bash
# A throw-away PostgreSQL with Pooler in front of it, in the foreground until Ctrl-C. Leaves nothing behind.
#
# POOLER_PORT and POOLER_METRICS_PORT choose other ports; POOLER_BIN takes a binary that is built already.
# `run.sh clean` removes what a run that was killed outright has left.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

port=${POOLER_PORT:-6432}
metrics_port=${POOLER_METRICS_PORT:-9127}
# A fixed password: this cluster holds nothing, listens on this machine only and is gone after Ctrl-C.
password=demo
prefix=/tmp/pooler-run.

say() { printf '%s\n' "$*" >&2; }
die() { say "run: $*"; exit 1; }

# Runs as the account PostgreSQL accepts: any but root.
unprivileged() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@"
    else
        "$@"
    fi
}

newest_bin() {
    local newest
    newest=$(compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -n 1)
    printf '%s' "$newest"
}

# Whether somebody listens on a TCP port. Read from the kernel's table: a trial connection would leave a line in
# Pooler's log.
taken() {
    local hex
    hex=$(printf '%04X' "$1")
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v port=":$hex" '$4 == "0A" && index($2, port) { found = 1 } END { exit !found }'
}

# Waits for a process to end: pid, tenths of a second.
ended() {
    local left=$2
    while kill -0 "$1" 2>/dev/null; do
        [ "$left" -gt 0 ] || return 1
        left=$((left - 1))
        sleep 0.1
    done
}

stop_postgres() {
    local dir=$1 pid
    pid=$(head -n 1 "$dir/data/postmaster.pid" 2>/dev/null || true)
    if [ -n "$pid" ] && kill -INT "$pid" 2>/dev/null; then
        ended "$pid" 100 || kill -QUIT "$pid" 2>/dev/null || true
        ended "$pid" 50 || true
    fi
}

# Ends Pooler: politely, then at once, then by force.
stop_pooler() {
    local pid=$1
    kill -TERM "$pid" 2>/dev/null || return 0
    ended "$pid" 50 && return 0
    kill -TERM "$pid" 2>/dev/null || return 0
    ended "$pid" 20 || kill -KILL "$pid" 2>/dev/null || true
}

clean() {
    local dir pid
    for dir in "$prefix"*; do
        [ -d "$dir" ] || continue
        # The owner's pid stands in a file; a directory whose owner lives is in use.
        pid=$(cat "$dir/owner" 2>/dev/null || true)
        if [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; then
            say "run: $dir belongs to a run in progress, left alone"
            continue
        fi
        pid=$(cat "$dir/pooler.pid" 2>/dev/null || true)
        if [ -n "$pid" ] && [ "$(readlink "/proc/$pid/cwd" 2>/dev/null || true)" = "$dir" ]; then
            stop_pooler "$pid"
        fi
        stop_postgres "$dir"
        rm -rf "$dir"
        say "run: removed $dir"
    done
}

if [ "${1:-}" = clean ]; then
    clean
    exit 0
fi

taken "$port" && die "port $port is taken; stop what listens there, or set POOLER_PORT"
taken "$metrics_port" && die "port $metrics_port is taken; stop what listens there, or set POOLER_METRICS_PORT"

tests/setup.sh postgres
binary=${POOLER_BIN:-}
if [ -z "$binary" ]; then
    cargo build --release --locked
    binary=${CARGO_TARGET_DIR:-target}/release/pooler
fi
binary=$(realpath "$binary")

dir=
pooler_pid=
postgres_pid=
finish() {
    local status=$?
    trap '' INT TERM HUP
    trap - EXIT
    if [ -n "$pooler_pid" ]; then stop_pooler "$pooler_pid"; fi
    if [ -n "$dir" ]; then
        stop_postgres "$dir"
        rm -rf "$dir"
    fi
    wait 2>/dev/null || true
    say 'run: both stopped, nothing left behind'
    exit "$status"
}
trap finish EXIT
trap 'exit 0' INT TERM HUP

dir=$(mktemp -d "${prefix}XXXXXX")
chmod 0755 "$dir"
echo $$ >"$dir/owner"
if [ "$(id -u)" = 0 ]; then chown postgres:postgres "$dir"; fi
bin=$(newest_bin)

say 'run: making a PostgreSQL cluster'
unprivileged "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --no-sync --no-instructions >"$dir/initdb.log" 2>&1 ||
    { cat "$dir/initdb.log" >&2; die 'initdb failed'; }
cat >>"$dir/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$dir'
port = 5432
fsync = off
max_connections = 200
CONF
printf 'local all postgres trust\nlocal all all scram-sha-256\n' >"$dir/data/pg_hba.conf"

# Sessions of their own: Ctrl-C reaches this script only, which then stops them in the right order.
if [ "$(id -u)" = 0 ]; then
    setsid setpriv --reuid=postgres --regid=postgres --clear-groups -- \
        "$bin/postgres" -D "$dir/data" >"$dir/postgres.log" 2>&1 </dev/null &
else
    setsid "$bin/postgres" -D "$dir/data" >"$dir/postgres.log" 2>&1 </dev/null &
fi
postgres_pid=$!
for _ in $(seq 100); do
    "$bin/pg_isready" -q -h "$dir" -U postgres && break
    kill -0 "$postgres_pid" 2>/dev/null || { cat "$dir/postgres.log" >&2; die 'PostgreSQL did not start'; }
    sleep 0.1
done
psql -X -q -v ON_ERROR_STOP=1 -h "$dir" -U postgres postgres <<SQL
create role app login password '$password';
create database app owner app;
SQL

# Where psql looks by itself, if this account may put a socket there.
sockets=/var/run/postgresql
[ -d "$sockets" ] && [ -w "$sockets" ] || sockets=/tmp

cat >"$dir/pooler.toml" <<CONF
[pooler]
listen_addr = "127.0.0.1"
listen_port = $port
unix_socket_dir = "$sockets"
pool_mode = "transaction"
auth_type = "scram-sha-256"
admin_users = ["pooler"]
metrics_listen = "127.0.0.1:$metrics_port"

[databases.app]
host = "$dir"
port = 5432

[users.app]
password = "$password"

[users.pooler]
password = "$password"
CONF
chmod 0600 "$dir/pooler.toml"

(cd "$dir" && exec setsid "$binary" "$dir/pooler.toml" </dev/null) &
pooler_pid=$!
echo "$pooler_pid" >"$dir/pooler.pid"
for _ in $(seq 100); do
    taken "$port" && break
    kill -0 "$pooler_pid" 2>/dev/null || die 'Pooler did not start; its own words stand above'
    sleep 0.1
done
taken "$port" || die "Pooler does not listen on port $port"

say ''
say "  application  postgres://app:$password@127.0.0.1:$port/app"
say "  console      psql postgres://pooler:$password@127.0.0.1:$port/pooler"
say "  metrics      http://127.0.0.1:$metrics_port/metrics"
say "  settings     $dir/pooler.toml"
say '  Ctrl-C stops Pooler and PostgreSQL and removes all of it.'
say ''

# Whichever ends first ends the run.
wait -n "$pooler_pid" "$postgres_pid" || true
die 'Pooler or PostgreSQL has ended by itself'
