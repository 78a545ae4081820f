"""psycopg 3 as it comes: URL and number of clients as arguments; ends with a reason if anything is not as it should be."""

import sys
import threading

import psycopg

URL, CLIENTS = sys.argv[1], int(sys.argv[2])
ROUNDS = 12


def check(what, seen, expected):
    if seen != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {seen!r}")


def client(number):
    me = f"client-{number}"
    with psycopg.connect(URL, autocommit=True) as conn:
        # The same text often enough to be prepared on the server (after five executions).
        for i in range(ROUNDS):
            row = conn.execute("select %s::text, %s::int + 1", (me, i)).fetchone()
            check("parameters", row, (me, i + 1))
        with conn.transaction():
            conn.execute("create temp table scratch (n int, who text) on commit drop")
            with conn.cursor() as cur:
                cur.executemany("insert into scratch values (%s, %s)", [(i, me) for i in range(20)])
                with cur.copy("copy scratch from stdin") as copy:
                    for i in range(20, 40):
                        copy.write_row((i, me))
                check("copied", cur.execute("select count(*), min(who), max(who) from scratch").fetchone(), (40, me, me))
                with cur.copy("copy (select n from scratch order by n) to stdout") as copy:
                    check("copied out", [int(row[0]) for row in copy.rows()], list(range(40)))
        with conn.pipeline():
            cursors = [conn.execute("select %s::text || %s", (me, i)) for i in range(10)]
        check("pipeline", [c.fetchone()[0] for c in cursors], [f"{me}{i}" for i in range(10)])
        try:
            conn.execute("select 1 / %s", (0,))
            raise AssertionError("division by zero went through")
        except psycopg.errors.DivisionByZero:
            pass
        try:
            with conn.transaction():
                conn.execute("select 1")
                raise psycopg.Rollback
        except psycopg.Error as error:
            raise AssertionError("rollback") from error
        with conn.transaction(), conn.cursor(name="server_side") as cur:
            cur.execute("select generate_series(1, 300)")
            check("server-side cursor", sum(row[0] for row in cur), 45150)
        if number % 20 == 0:
            # More texts than psycopg keeps prepared: it closes the oldest.
            for i in range(120):
                check("evicted", conn.execute(f"select {i} + %s", (1,), prepare=True).fetchone(), (i + 1,))


def run(target, failures):
    try:
        target()
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the result
        failures.append(repr(error))


failures = []
threads = [threading.Thread(target=run, args=(lambda n=n: client(n), failures)) for n in range(CLIENTS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if failures:
    sys.exit(f"{len(failures)} of {CLIENTS} clients failed, first: {failures[0]}")
