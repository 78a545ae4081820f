"""SQLAlchemy and the state of its sessions, over psycopg (third argument `psycopg`) or asyncpg: isolation levels,
AUTOCOMMIT, settings, streams. Prints what each client saw."""

import asyncio
import sys

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from reports import Report, print_the_one, run_threads

URL, CLIENTS, DRIVER = sa.make_url(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
LEVELS = ("SERIALIZABLE", "REPEATABLE READ", "READ COMMITTED", "AUTOCOMMIT")


def value(conn, query, **parameters):
    return conn.execute(sa.text(query), parameters).scalar()


def levels(conn, tell):
    """Isolation levels for one use of a connection, which SQLAlchemy and the drivers set in ways of their own."""
    tell("default", (conn.get_isolation_level(), conn.default_isolation_level))
    conn.rollback()
    for level in LEVELS:
        conn.execution_options(isolation_level=level)
        tell(level, (conn.get_isolation_level(), value(conn, "show transaction_isolation")))
        conn.rollback()
    conn.execute(sa.text("set session characteristics as transaction isolation level serializable, read only"))
    tell("characteristics", [value(conn, f"show default_transaction_{n}") for n in ("isolation", "read_only")])
    conn.rollback()
    try:
        conn.execute(sa.text("create table never (n int)"))
        tell("read only", "not at all")
    except sa.exc.DBAPIError as error:
        tell("read only", getattr(error.orig, "sqlstate", None))
    conn.rollback()
    conn.execute(sa.text("set session characteristics as transaction read write"))
    conn.execute(sa.text("reset default_transaction_isolation"))
    tell("again", value(conn, "show transaction_isolation"))
    conn.rollback()


def settings(conn, tell):
    conn.execution_options(isolation_level="AUTOCOMMIT")
    conn.execute(sa.text("set work_mem = '9MB'"))
    conn.execute(sa.text("set time zone 'Asia/Tokyo'"))
    tell("autocommit", [value(conn, f"show {name}") for name in ("work_mem", "timezone")])
    conn.rollback()
    conn.execution_options(isolation_level="READ COMMITTED")
    conn.execute(sa.text("set work_mem = '5MB'"))
    conn.rollback()
    tell("rolled back", value(conn, "show work_mem"))
    conn.execute(sa.text("set search_path = pg_catalog"))
    conn.commit()
    tell("committed", value(conn, "show search_path"))
    conn.execute(sa.text("set local work_mem = '3MB'"))
    tell("local", value(conn, "show work_mem"))
    conn.commit()
    value(conn, "select set_config('app.tenant', :tenant, false)", tenant="ten ant's")
    conn.commit()
    tell("own setting", (value(conn, "show work_mem"), value(conn, "select current_setting('app.tenant', true)")))
    conn.execute(sa.text("reset all"))
    conn.commit()
    tell("reset all", [value(conn, f"show {name}") for name in ("work_mem", "timezone", "search_path")])
    conn.rollback()


def bound_state(conn, number, tell):
    value(conn, "select pg_advisory_lock(:key)", key=81_000 + number)
    conn.commit()
    tell("unlocked", value(conn, "select pg_advisory_unlock(:key)", key=81_000 + number))
    conn.commit()
    kept = sa.Table("kept", sa.MetaData(), sa.Column("n", sa.Integer), prefixes=["TEMPORARY"])
    kept.create(conn)
    conn.commit()
    for i in range(3):
        conn.execute(kept.insert().values(n=i))
        conn.commit()
    tell("temp table", conn.execute(sa.select(sa.func.sum(kept.c.n))).scalar())
    kept.drop(conn)
    conn.commit()


def work(conn, number, tell):
    """One client's deeds on a connection of the core or, through run_sync, of asyncio."""
    levels(conn, tell)
    settings(conn, tell)
    bound_state(conn, number, tell)
    tell("inspected", sa.inspect(conn).has_table("pg_class", schema="pg_catalog"))


def threads(engine):
    def client(number, report):
        with engine.connect() as conn:
            work(conn, number, report.tell)
        # What comes back from SQLAlchemy's pool has its own level again.
        with engine.connect() as conn:
            report.tell("back", conn.get_isolation_level())
            rows = conn.execution_options(yield_per=10).execute(sa.text("select generate_series(1, 100)"))
            report.tell("streamed", sum(row[0] for row in rows))

    run_threads(CLIENTS, client)


async def tasks(engine):
    async def client(number, report):
        async with engine.connect() as conn:
            await conn.run_sync(work, number, report.tell)
        async with engine.connect() as conn:
            report.tell("back", await conn.run_sync(lambda c: c.get_isolation_level()))
            rows = await conn.stream(sa.text("select generate_series(1, 100)"))
            report.tell("streamed", sum([row[0] async for row in rows]))

    reports = [Report() for _ in range(CLIENTS)]
    results = await asyncio.gather(*(client(n, r) for n, r in enumerate(reports)), return_exceptions=True)
    await engine.dispose()
    failures = [f"after {r.lines[-1:]}: {e!r}" for r, e in zip(reports, results) if isinstance(e, BaseException)]
    print_the_one(reports, failures)


pool = {"pool_size": CLIENTS, "max_overflow": 0}
if DRIVER == "psycopg":
    threads(sa.create_engine(URL.set(drivername="postgresql+psycopg"), **pool))
else:
    url = URL.set(drivername="postgresql+asyncpg", query={})
    asyncio.run(tasks(create_async_engine(url, connect_args={"ssl": False, "timeout": 60}, **pool)))
