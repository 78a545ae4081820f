"""asyncpg as it comes, statement cache and all: URL and number of clients as arguments."""

import asyncio
import datetime
import sys

import asyncpg

URL, CLIENTS = sys.argv[1], int(sys.argv[2])


def check(what, seen, expected):
    if seen != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {seen!r}")


async def work(conn, me):
    day = datetime.date(2026, 2, 28)
    for i in range(10):
        row = await conn.fetchrow("select $1::text, $2::int + 1, $3::date, $4::int[]", me, i, day, [1, 2])
        check("parameters", tuple(row), (me, i + 1, day, [1, 2]))
    prepared = await conn.prepare("select $1::text || '!'")
    for _ in range(5):
        check("prepared", await prepared.fetchval(me), me + "!")
    async with conn.transaction():
        await conn.execute("create temp table scratch (n int, who text) on commit drop")
        await conn.executemany("insert into scratch values ($1, $2)", [(i, me) for i in range(20)])
        await conn.copy_records_to_table("scratch", records=[(i, me) for i in range(20, 40)])
        check("rows", await conn.fetchval("select count(*) from scratch where who = $1", me), 40)
        total = 0
        async for row in conn.cursor("select n from scratch", prefetch=7):
            total += row["n"]
        check("cursor", total, 780)
        async with conn.transaction():
            await conn.execute("savepoint inner_one")
    try:
        await conn.fetchval("select 1 / $1::int", 0)
        raise AssertionError("division by zero went through")
    except asyncpg.DivisionByZeroError:
        pass
    try:
        await conn.fetchval("select * from no_such_table")
        raise AssertionError("a missing table went through")
    except asyncpg.UndefinedTableError:
        pass
    check("after errors", await conn.fetchval("select $1::text", me), me)


async def client(number):
    me = f"client-{number}"
    conn = await asyncpg.connect(URL, timeout=60)
    try:
        await work(conn, me)
        if number % 20 == 0:
            # More texts than the cache holds: the oldest are closed.
            for i in range(120):
                check("evicted", await conn.fetchval(f"select {i} + $1::int", 1), i + 1)
    finally:
        await conn.close(timeout=60)


async def pooled():
    """asyncpg's own pool resets each connection it takes back."""
    async with asyncpg.create_pool(URL, min_size=2, max_size=5) as pool:

        async def one(number):
            for _ in range(5):
                async with pool.acquire() as conn:
                    check("pooled", await conn.fetchval("select $1::int", number), number)

        await asyncio.gather(*(one(n) for n in range(10)))


async def cancelled():
    """A timeout sends a cancel request; the connection lives on."""
    conn = await asyncpg.connect(URL, timeout=60)
    try:
        await conn.execute("select pg_sleep(30)", timeout=0.3)
        raise AssertionError("no timeout")
    except asyncio.TimeoutError:
        pass
    check("after a timeout", await conn.fetchval("select 1"), 1)
    await conn.close(timeout=60)


async def main():
    results = await asyncio.gather(*(client(n) for n in range(CLIENTS)), return_exceptions=True)
    failures = [repr(r) for r in results if isinstance(r, BaseException)]
    if failures:
        sys.exit(f"{len(failures)} of {CLIENTS} clients failed, first: {failures[0]}")
    await pooled()
    await cancelled()


asyncio.run(main())
