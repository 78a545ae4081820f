"""psycopg 3 and the state of its sessions: startup options, settings, cursors, locks. Prints what each client saw."""

import sys

import psycopg

from reports import run_threads

URL, CLIENTS = sys.argv[1], int(sys.argv[2])
OPTIONS = "-c work_mem=7MB -c search_path=pg_catalog,public"


def value(conn, query, *args):
    return conn.execute(query, args or None).fetchone()[0]


def settings(conn, tell):
    """SET and RESET over transactions, over rollbacks, and within one block only."""
    tell("startup", [value(conn, f"show {name}") for name in ("work_mem", "search_path", "application_name")])
    conn.execute("set work_mem = '9MB'")
    conn.execute("set time zone 'Asia/Tokyo'")
    tell("set", [value(conn, f"show {name}") for name in ("work_mem", "timezone")])
    tell("driver knows", conn.info.parameter_status("TimeZone"))
    tell("offset", str(value(conn, "select timestamptz '2026-01-01 00:00+00'")))
    with conn.transaction():
        conn.execute("set local work_mem = '3MB'")
        tell("local", value(conn, "show work_mem"))
    with conn.transaction(force_rollback=True):
        conn.execute("set work_mem = '4MB'")
        conn.execute("set statement_timeout = '40s'")
    tell("rolled back", [value(conn, f"show {name}") for name in ("work_mem", "statement_timeout")])
    try:
        with conn.transaction():
            conn.execute("set work_mem = '5MB'")
            conn.execute("select 1 / 0")
    except psycopg.errors.DivisionByZero:
        tell("failed", value(conn, "show work_mem"))
    with conn.transaction():
        conn.execute("set work_mem = '6MB'")
        try:
            with conn.transaction():
                conn.execute("set work_mem = '5MB'")
                raise psycopg.Rollback
        finally:
            tell("savepoint", value(conn, "show work_mem"))
    tell("committed", value(conn, "show work_mem"))
    tell("set_config", value(conn, "select set_config('app.tenant', %s, false)", "ten ant's"))
    tell("own setting", value(conn, "select current_setting('app.tenant', true)"))
    conn.execute("reset work_mem")
    tell("reset", value(conn, "show work_mem"))
    conn.execute("reset all")
    names = ("work_mem", "search_path", "timezone", "app.tenant")
    tell("reset all", [value(conn, "select current_setting(%s, true)", name) for name in names])


def characteristics(conn, tell):
    """What psycopg says itself: BEGIN with options, and SET SESSION CHARACTERISTICS by hand."""
    conn.execute("set session characteristics as transaction isolation level serializable, read only")
    tell("session default", [value(conn, f"show {n}") for n in ("transaction_isolation", "transaction_read_only")])
    try:
        conn.execute("create table never (n int)")
    except psycopg.Error as error:
        tell("read only", error.sqlstate)
    conn.execute("set session characteristics as transaction isolation level read committed, read write")
    conn.autocommit = False
    conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    tell("its own", value(conn, "show transaction_isolation"))
    conn.commit()
    conn.isolation_level = None
    tell("back", value(conn, "show transaction_isolation"))
    conn.rollback()
    conn.autocommit = True


def statements(conn, number, tell):
    """Many prepared statements, all closed at once, and a table that another connection changes under them."""
    for _ in range(7):
        for i in range(12):
            if value(conn, f"select {i} + %s::int4", number) != i + number:
                raise AssertionError("somebody else's answer")
    tell("prepared", value(conn, "select count(*) from pg_prepared_statements where name like '_pg3_%%'") >= 0)
    conn.execute("deallocate all")
    conn.prepare_threshold = 0
    table = f"public.psycopg_session_{number}"
    conn.execute(f"drop table if exists {table}")
    conn.execute(f"create table {table} (n int)")
    conn.execute(f"insert into {table} values (%s)", (1,))
    for _ in range(3):
        tell("rows", conn.execute(f"select * from {table} where n = %s", (1,)).fetchall())
    with psycopg.connect(URL, autocommit=True) as other:
        other.execute(f"alter table {table} add column extra text default 'new'")
    try:
        rows = conn.execute(f"select * from {table} where n = %s", (1,)).fetchall()
    except psycopg.errors.FeatureNotSupported:
        rows = [(1, "new")]  # PostgreSQL refuses the stale plan; a pooler may plan again
    tell("altered", rows)
    conn.execute("deallocate all")
    conn.prepare_threshold = 5
    tell("again", conn.execute(f"select * from {table} where n = %s", (1,)).fetchall())
    conn.execute(f"drop table {table}")


def prepared_in_sql(conn, tell):
    conn.execute("prepare mine (int) as select $1 + 1")
    tell("execute", [value(conn, f"execute mine({i})") for i in range(3)])
    tell("listed", value(conn, "select count(*) from pg_prepared_statements where name = 'mine'"))
    conn.execute("deallocate mine")
    try:
        conn.execute("execute mine(1)")
    except psycopg.Error as error:
        tell("deallocated", error.sqlstate)


def cursors(conn, tell):
    with conn.transaction(), conn.cursor(name="named") as cur:
        cur.itersize = 20
        cur.execute("select generate_series(1, 100)")
        tell("named cursor", (cur.fetchone(), cur.fetchmany(3), sum(row[0] for row in cur)))
    with conn.transaction(), conn.cursor(name="scrolls", scrollable=True) as cur:
        cur.execute("select generate_series(1, 100)")
        cur.scroll(49)
        seen = [cur.fetchone()]
        cur.scroll(0, mode="absolute")
        tell("scrolled", [*seen, cur.fetchone()])
    with conn.cursor(name="held", withhold=True) as cur:
        cur.execute("select generate_series(1, 100)")
        seen = cur.fetchmany(10)
        conn.execute("select 1")
        tell("held cursor", (seen[-1], cur.fetchone(), len(cur.fetchall())))
    tell("closed", value(conn, "select count(*) from pg_cursors"))


def bound_state(conn, number, tell):
    """What no other server has: advisory locks, temporary tables, LISTEN."""
    key = 77_000 + number
    conn.execute("select pg_advisory_lock(%s)", (key,))
    # Not asked by a second connection: one that holds a lock, and a server with it, must not wait for another server.
    held = "select count(*) from pg_locks where locktype = 'advisory' and objid = %s and pid = pg_backend_pid()"
    tell("locked", value(conn, held, key))
    tell("unlocked", [value(conn, "select pg_advisory_unlock(%s)", key), value(conn, held, key)])
    conn.execute("create temp table kept (n int)")
    for i in range(3):
        conn.execute("insert into kept values (%s)", (i,))
    tell("temp table", value(conn, "select sum(n) from kept"))
    conn.execute("drop table kept")
    conn.execute(f"listen channel_{number}")
    conn.execute(f"notify channel_{number}, 'hello'")
    tell("notified", [n.payload for n in conn.notifies(timeout=30, stop_after=1)])
    conn.execute("unlisten *")


def client(number, report):
    tell = report.tell
    with psycopg.connect(URL, autocommit=True, options=OPTIONS, application_name="sessions") as conn:
        settings(conn, tell)
        characteristics(conn, tell)
        prepared_in_sql(conn, tell)
        cursors(conn, tell)
        statements(conn, number, tell)
    with psycopg.connect(URL, autocommit=True) as conn:
        tell("untouched", [value(conn, f"show {name}") for name in ("work_mem", "search_path", "timezone")])
        bound_state(conn, number, tell)


run_threads(CLIENTS, client)
