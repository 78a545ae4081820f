"""LISTEN with asyncpg as it comes: URL and number of clients as arguments. Each client hears what is for it and what is
for all, in order, also while it works; ends with a reason if anything is not as it should be."""

import asyncio
import sys

import asyncpg

URL, CLIENTS = sys.argv[1], int(sys.argv[2])
PATIENCE = 60


def check(what, seen, expected):
    if seen != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {seen!r}")


class Client:
    def __init__(self, number):
        self.number = number
        self.me = f"own_{number}"
        self.also = f"also_{number}"
        self.queue = asyncio.Queue()

    def hear(self, _conn, _pid, channel, payload):
        self.queue.put_nowait((channel, payload))

    async def hears(self, what, *expected):
        for one in expected:
            check(what, await asyncio.wait_for(self.queue.get(), PATIENCE), one)

    async def listen(self):
        self.conn = await asyncpg.connect(URL, timeout=PATIENCE)
        await self.conn.add_listener(self.me, self.hear)
        await self.conn.add_listener(self.also, self.hear)
        await self.conn.add_listener("everybody", self.hear)
        await self.conn.execute(f"notify {self.me}, 'to myself'")
        await self.hears("own", (self.me, "to myself"))

    async def work(self):
        me, conn = self.me, self.conn
        await self.hears("from outside", ("everybody", "hello"), (me, f"hello {self.number}"))
        async with conn.transaction():
            await conn.execute("select pg_notify($1, $2)", me, "in a block")
            await conn.execute(f"notify {me}, 'behind it'")
        await self.hears("in a block", (me, "in a block"), (me, "behind it"))
        await conn.remove_listener(self.also, self.hear)
        await conn.execute(f"notify {self.also}, 'too late'")
        await conn.execute(f"notify {me}, 'last'")
        await self.hears("unlistened", (me, "last"))
        check("works on", await conn.fetchval("select $1::int", self.number), self.number)
        await conn.remove_listener(me, self.hear)
        await conn.remove_listener("everybody", self.hear)
        await conn.close(timeout=PATIENCE)


async def pooled():
    """asyncpg's own pool ends what its connections listen to."""
    async with asyncpg.create_pool(URL, min_size=1, max_size=1) as pool:
        conn = await pool.acquire()
        heard = asyncio.Queue()
        listener = lambda _conn, _pid, _channel, payload: heard.put_nowait(payload)  # noqa: E731
        await conn.add_listener("pooled", listener)
        await conn.execute("notify pooled, 'one'")
        check("pooled", await asyncio.wait_for(heard.get(), PATIENCE), "one")
        await conn.remove_listener("pooled", listener)
        await pool.release(conn)
        async with pool.acquire() as again:
            check("reset", await again.fetchval("select count(*) from pg_listening_channels()"), 0)


async def main():
    clients = [Client(n) for n in range(CLIENTS)]
    await asyncio.gather(*(client.listen() for client in clients))
    sender = await asyncpg.connect(URL, timeout=PATIENCE)
    async with sender.transaction():
        await sender.execute("notify everybody, 'hello'")
        for client in clients:
            await sender.execute("select pg_notify($1, $2)", client.me, f"hello {client.number}")
    await sender.close(timeout=PATIENCE)
    results = await asyncio.gather(*(client.work() for client in clients), return_exceptions=True)
    failures = [repr(r) for r in results if isinstance(r, BaseException)]
    if failures:
        sys.exit(f"{len(failures)} of {CLIENTS} clients failed, first: {failures[0]}")
    await pooled()


asyncio.run(main())
