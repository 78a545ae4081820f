"""LISTEN with psycopg 3 as it comes: URL and number of clients as arguments. Each client hears what is for it and what
is for all, in order, also while it works; ends with a reason if anything is not as it should be."""

import sys
import threading

import psycopg

URL, CLIENTS = sys.argv[1], int(sys.argv[2])
PATIENCE = 60


def check(what, seen, expected):
    if seen != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {seen!r}")


def heard(conn, count):
    return [(n.channel, n.payload) for n in conn.notifies(timeout=PATIENCE, stop_after=count)]


def client(number, ready, told):
    me = f"own_{number}"
    with psycopg.connect(URL, autocommit=True) as conn:
        conn.execute(f"listen {me}")
        with conn.transaction():
            conn.execute(f"listen also_{number}")
            conn.execute("listen everybody")
        conn.execute(f"notify {me}, 'to myself'")
        check("own", heard(conn, 1), [(me, "to myself")])
        ready.wait(PATIENCE)
        told.wait(PATIENCE)
        check("from outside", heard(conn, 2), [("everybody", "hello"), (me, f"hello {number}")])
        with conn.transaction():
            conn.execute("select pg_notify(%s, %s)", (me, "in a block"))
            conn.execute(f"notify {me}, 'behind it'")
        check("in a block", heard(conn, 2), [(me, "in a block"), (me, "behind it")])
        conn.execute(f"unlisten also_{number}")
        conn.execute(f"notify also_{number}, 'too late'")
        conn.execute(f"notify {me}, 'last'")
        check("unlistened", heard(conn, 1), [(me, "last")])
        check("works on", conn.execute("select %s::int", (number,)).fetchone(), (number,))


def sender(ready, told):
    ready.wait(PATIENCE)
    with psycopg.connect(URL) as conn:
        conn.execute("notify everybody, 'hello'")
        for number in range(CLIENTS):
            conn.execute("select pg_notify(%s, %s)", (f"own_{number}", f"hello {number}"))
        conn.commit()
    told.wait(PATIENCE)


def run(target, failures):
    try:
        target()
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the result
        failures.append(repr(error))


failures = []
ready, told = threading.Barrier(CLIENTS + 1), threading.Barrier(CLIENTS + 1)
work = [lambda n=n: client(n, ready, told) for n in range(CLIENTS)]
threads = [threading.Thread(target=run, args=(w, failures)) for w in [*work, lambda: sender(ready, told)]]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if failures:
    sys.exit(f"{len(failures)} of {CLIENTS} clients failed, first: {failures[0]}")
