"""SQLAlchemy as it comes, over psycopg (third argument `psycopg`) or asyncpg. URL and clients come first."""

import asyncio
import sys
import threading

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

URL, CLIENTS, DRIVER = sa.make_url(sys.argv[1]), int(sys.argv[2]), sys.argv[3]


class Base(DeclarativeBase):
    pass


class Thing(Base):
    __tablename__ = f"sqlalchemy_{DRIVER}_things"
    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]
    amount: Mapped[int]


def check(what, seen, expected):
    if seen != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {seen!r}")


def work(conn, number):
    """One client's deeds on a connection of the core or, through run_sync, of asyncio."""
    owner = f"client-{number}"
    with Session(bind=conn, join_transaction_mode="create_savepoint") as session:
        session.add_all([Thing(owner=owner, amount=i) for i in range(20)])
        session.commit()
    for _ in range(7):
        query = sa.select(sa.func.sum(Thing.amount)).where(Thing.owner == owner)
        check("sum", conn.execute(query).scalar(), 190)
    nested = conn.begin_nested()
    try:
        conn.execute(sa.text("select 1 / :zero"), {"zero": 0})
        raise AssertionError("division by zero went through")
    except sa.exc.DBAPIError:
        nested.rollback()
    deleted = conn.execute(sa.delete(Thing).where(Thing.owner == owner))
    check("deleted", deleted.rowcount, 20)


def run_threads(engine):
    failures = []

    def client(number):
        try:
            with engine.begin() as conn:
                work(conn, number)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the result
            failures.append(repr(error))

    with engine.begin() as conn:
        Base.metadata.drop_all(conn)
        Base.metadata.create_all(conn)
    threads = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with engine.connect() as conn:
        check("left over", conn.execute(sa.select(sa.func.count(Thing.id))).scalar(), 0)
    return failures


async def run_async(engine):
    async def client(number):
        async with engine.begin() as conn:
            await conn.run_sync(work, number)

    async with engine.begin() as conn:
        await conn.run_sync(Base.metadata.drop_all)
        await conn.run_sync(Base.metadata.create_all)
    results = await asyncio.gather(*(client(n) for n in range(CLIENTS)), return_exceptions=True)
    await engine.dispose()
    return [repr(r) for r in results if isinstance(r, BaseException)]


pool = {"pool_size": CLIENTS, "max_overflow": 0}
if DRIVER == "psycopg":
    engine = sa.create_engine(URL.set(drivername="postgresql+psycopg"), **pool)
    failures = run_threads(engine)
else:
    url = URL.set(drivername="postgresql+asyncpg", query={})
    failures = asyncio.run(run_async(create_async_engine(url, connect_args={"ssl": False, "timeout": 60}, **pool)))
if failures:
    sys.exit(f"{len(failures)} of {CLIENTS} clients failed, first: {failures[0]}")
