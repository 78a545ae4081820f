"""psycopg2 as it comes: the simple protocol, transactions opened by the driver, COPY. URL and clients as arguments."""

import io
import sys
import threading

import psycopg2

URL, CLIENTS = sys.argv[1], int(sys.argv[2])


def check(what, seen, expected):
    if seen != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {seen!r}")


def client(number):
    me = f"client-{number}"
    conn = psycopg2.connect(URL)
    try:
        for i in range(10):
            with conn, conn.cursor() as cur:
                cur.execute("select %s, %s + 1", (me, i))
                check("values", cur.fetchone(), (me, i + 1))
        with conn, conn.cursor() as cur:
            cur.execute("create temp table scratch (n int, who text) on commit drop")
            rows = "".join(f"{i}\t{me}\n" for i in range(50))
            cur.copy_expert("copy scratch from stdin", io.StringIO(rows))
            out = io.StringIO()
            cur.copy_expert("copy scratch to stdout", out)
            check("copied", out.getvalue(), rows)
        try:
            with conn, conn.cursor() as cur:
                cur.execute("select 1 / 0")
            raise AssertionError("division by zero went through")
        except psycopg2.errors.DivisionByZero:
            pass
        with conn, conn.cursor(name="server_side") as cur:
            cur.execute("select generate_series(1, 3000)")
            check("server-side cursor", sum(row[0] for row in cur), 4501500)
    finally:
        conn.close()


def run(number, failures):
    try:
        client(number)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the result
        failures.append(repr(error))


failures = []
threads = [threading.Thread(target=run, args=(n, failures)) for n in range(CLIENTS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if failures:
    sys.exit(f"{len(failures)} of {CLIENTS} clients failed, first: {failures[0]}")
