"""asyncpg and the state of its sessions: server_settings, its pool's reset, its cache. Prints what each client saw."""

import asyncio
import datetime
import sys

import asyncpg

from reports import Report, print_the_one

URL, CLIENTS = sys.argv[1], int(sys.argv[2])
# Clients that keep a server and wait for a second one: fewer than the pool has servers, or they wait for each other.
KEEPING = asyncio.Semaphore(2)
SETTINGS = {"jit": "off", "statement_timeout": "5s"}


async def shown(conn, *names):
    return [await conn.fetchval(f"show {name}") for name in names]


async def settings(conn, tell):
    tell("startup", await shown(conn, "jit", "statement_timeout", "application_name"))
    await conn.execute("set statement_timeout = '7s'")
    await conn.execute("set time zone 'Asia/Tokyo'")
    await conn.execute("set application_name = 'renamed'")
    tell("set", await shown(conn, "jit", "statement_timeout", "timezone", "application_name"))
    tell("driver knows", conn.get_settings().TimeZone)
    moment = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    tell("text of a time", await conn.fetchval("select $1::timestamptz::text", moment))
    transaction = conn.transaction(isolation="serializable", readonly=True, deferrable=True)
    await transaction.start()
    tell("transaction", await shown(conn, "transaction_isolation", "transaction_read_only"))
    await conn.execute("set local statement_timeout = '8s'")
    await transaction.rollback()
    tell("rolled back", await shown(conn, "statement_timeout", "transaction_isolation"))
    await conn.execute("reset statement_timeout")
    tell("reset", await shown(conn, "statement_timeout"))
    await conn.execute("reset all")
    tell("reset all", await shown(conn, "jit", "statement_timeout", "timezone", "application_name"))


async def altered(conn, number, tell):
    """A table that another connection changes under asyncpg's cache of statements, whose columns it has asked for.

    A temporary table keeps the server: one that parses such a statement only after the change has no stale plan to
    refuse, and asyncpg would meet columns that it was not told of.
    """
    table = f"asyncpg_session_{number}"
    await conn.execute(f"drop table if exists {table}; create table {table} (n int); insert into {table} values (1)")
    await conn.execute("create temp table keeps_the_server (n int)")
    query = f"select * from {table} where n = $1"
    for _ in range(3):
        tell("rows", [tuple(r) for r in await conn.fetch(query, 1)])
    prepared = await conn.prepare(f"select t.* from {table} t where n = $1")
    # asyncpg prepares without a Sync: until the next one the table stays locked.
    tell("prepared", [tuple(r) for r in await prepared.fetch(1)])
    other = await asyncpg.connect(URL, timeout=60)
    await other.execute(f"alter table {table} add column a text default 'new'")
    for what, fetch in (("altered", lambda: conn.fetch(query, 1)), ("prepared before", lambda: prepared.fetch(1))):
        try:
            tell(what, [tuple(r) for r in await fetch()])
        except asyncpg.PostgresError as error:
            tell(what, type(error).__name__)
    tell("cached again", [tuple(r) for r in await conn.fetch(query, 1)])
    await other.execute(f"alter table {table} add column b text default 'new'")
    try:
        async with conn.transaction():
            tell("altered in a block", [tuple(r) for r in await conn.fetch(query, 1)])
    except asyncpg.PostgresError as error:
        tell("altered in a block", type(error).__name__)
    tell("afterwards", [tuple(r) for r in await conn.fetch(query, 1)])
    await other.execute(f"drop table {table}")
    await other.close(timeout=60)
    await conn.execute("drop table keeps_the_server")


async def types(conn, number, tell):
    """Types of its own, which asyncpg asks the catalog about."""
    name = f"asyncpg_mood_{number}"
    await conn.execute(f"drop type if exists {name}; create type {name} as enum ('sad', 'ok')")
    tell("enum", await conn.fetchval(f"select $1::{name}", "ok"))
    await conn.set_type_codec("json", encoder=str, decoder=str.upper, schema="pg_catalog")
    tell("codec", await conn.fetchval("select '{\"a\": 1}'::json"))
    await conn.execute(f"drop type {name}")


async def bound_state(conn, number, tell):
    key = 78_000 + number
    await conn.execute("select pg_advisory_lock($1)", key)
    # Not asked by a second connection: one that holds a lock, and a server with it, must not wait for another server.
    held = "select count(*) from pg_locks where locktype = 'advisory' and objid = $1::int and pid = pg_backend_pid()"
    tell("locked", await conn.fetchval(held, key))
    tell("unlocked", await conn.fetchval("select pg_advisory_unlock($1)", key))
    await conn.execute("create temp table kept (n int)")
    for i in range(3):
        await conn.execute("insert into kept values ($1)", i)
    tell("temp table", await conn.fetchval("select sum(n) from kept"))
    await conn.execute("drop table kept")
    heard = asyncio.get_running_loop().create_future()
    await conn.add_listener(f"asyncpg_{number}", lambda *told: heard.done() or heard.set_result(told[3]))
    await conn.execute(f"notify asyncpg_{number}, 'hello'")
    tell("notified", await asyncio.wait_for(heard, 60))
    await conn.reset(timeout=60)
    tell("reset", await shown(conn, *SETTINGS))


async def pooled(number, tell):
    """asyncpg's pool resets what it takes back: locks, cursors, LISTEN, settings."""
    async with asyncpg.create_pool(URL, min_size=1, max_size=1, server_settings=SETTINGS, timeout=60) as pool:
        async with pool.acquire() as conn:
            await conn.execute("set jit = on")
            await conn.execute("set search_path = pg_catalog")
            await conn.execute("select pg_advisory_lock($1)", 79_000 + number)
            tell("in the pool", await shown(conn, "jit", "search_path"))
        async with pool.acquire() as conn:
            tell("out of the pool", await shown(conn, "jit", "statement_timeout", "search_path"))
            tell("locks", await conn.fetchval("select count(*) from pg_locks where locktype = 'advisory' and "
                                              "objid = $1", 79_000 + number))


async def client(number, report):
    conn = await asyncpg.connect(URL, timeout=60, server_settings=SETTINGS | {"application_name": "sessions"})
    try:
        await settings(conn, report.tell)
        async with KEEPING:
            await altered(conn, number, report.tell)
        await types(conn, number, report.tell)
        await bound_state(conn, number, report.tell)
    finally:
        await conn.close(timeout=60)
    await pooled(number, report.tell)


async def main():
    reports = [Report() for _ in range(CLIENTS)]
    results = await asyncio.gather(*(client(n, r) for n, r in enumerate(reports)), return_exceptions=True)
    failures = [f"after {r.lines[-1:]}: {e!r}" for r, e in zip(reports, results) if isinstance(e, BaseException)]
    print_the_one(reports, failures)


asyncio.run(main())
