"""Django's ORM as it comes, on psycopg 3: no DISABLE_SERVER_SIDE_CURSORS, no options. Prints what each client saw.

Django connects for each thread. A cursor of iterator() outside a block is WITH HOLD and keeps its server until it is
closed. Every thread has one connection, so none that keeps a server waits for a second one: any size of pool will do.
"""

import datetime
import sys
from urllib.parse import urlsplit

import django
from django.conf import settings

from reports import run_threads

URL, CLIENTS = urlsplit(sys.argv[1]), int(sys.argv[2])
DATABASE = {
    "ENGINE": "django.db.backends.postgresql",
    "NAME": URL.path[1:],
    "USER": URL.username,
    "PASSWORD": URL.password,
    "HOST": URL.hostname,
    "PORT": URL.port,
}
# The one application is this script.
ZONE = {"USE_TZ": True, "TIME_ZONE": "America/New_York"}
settings.configure(DATABASES={"default": DATABASE}, INSTALLED_APPS=["__main__"], **ZONE)
django.setup()

from django.db import DatabaseError, IntegrityError, connection, migrations, models, transaction  # noqa: E402
from django.db.migrations.executor import MigrationExecutor  # noqa: E402
from django.db.migrations.migration import Migration  # noqa: E402
from django.db.migrations.state import ProjectState  # noqa: E402
from django.utils import timezone  # noqa: E402


class Owner(models.Model):
    name = models.CharField(max_length=50, unique=True)

    class Meta:
        db_table = "drivers_owner"


class Thing(models.Model):
    owner = models.ForeignKey(Owner, on_delete=models.CASCADE)
    amount = models.IntegerField()
    made = models.DateTimeField(default=timezone.now)
    extra = models.JSONField(default=dict)

    class Meta:
        db_table = "drivers_thing"
        ordering = ["amount"]


def create_tables():
    """By the schema editor, with a table that is changed at once; and the recorder of migrations, which has its own."""
    with connection.cursor() as cursor:
        cursor.execute("drop table if exists drivers_thing, drivers_owner, django_migrations")
    with connection.schema_editor() as editor:
        editor.create_model(Owner)
        editor.create_model(Thing)
    first = Migration("0001_first", "__main__")
    first.operations = [
        migrations.AddField("Owner", "since", models.DateField(null=True)),
        migrations.AddIndex("Thing", models.Index(fields=["made"], name="drivers_made")),
        migrations.RunSQL("create index concurrently drivers_amount on drivers_thing (amount)"),
        migrations.RemoveField("Owner", "since"),
    ]
    first.atomic = False
    executor = MigrationExecutor(connection)
    executor.recorder.ensure_schema()
    state = ProjectState()
    for model in (Owner, Thing):
        state.add_model(migrations.state.ModelState.from_model(model))
    with connection.schema_editor(atomic=False) as editor:
        first.apply(state, editor)
    executor.recorder.record_applied("__main__", "0001_first")


def basics(owner, tell):
    things = Thing.objects.bulk_create([Thing(owner=owner, amount=i, extra={"n": [i]}) for i in range(50)])
    tell("bulk", (len(things), all(thing.pk for thing in things)))
    mine = Thing.objects.filter(owner__name=owner.name)
    for _ in range(7):
        tell("aggregate", mine.aggregate(models.Sum("amount"), models.Avg("amount"), models.Count("id")))
    tell("updated", mine.filter(amount__gte=40).update(amount=models.F("amount") + 100))
    tell("values", list(mine.filter(amount__gte=100).values_list("amount", flat=True)))
    tell("json", mine.get(extra__n=[7]).extra)
    tell("exists", (mine.filter(amount=-1).exists(), mine.first().amount, mine.last().amount))
    tell("related", mine.select_related("owner").first().owner.name == owner.name)
    tell("made or got", [Owner.objects.get_or_create(name=owner.name)[1] for _ in range(2)])
    tell("annotated", Owner.objects.filter(pk=owner.pk).annotate(n=models.Count("thing")).get().n)
    tell("deleted", mine.filter(amount__lt=10).delete())
    return mine


def transactions(owner, mine, tell):
    with transaction.atomic():
        mine.filter(amount=20).update(amount=1000)
        try:
            with transaction.atomic():
                Owner.objects.create(name=owner.name)
        except IntegrityError as error:
            tell("savepoint", error.__cause__.sqlstate)
        tell("alive", mine.filter(amount=1000).count())
        locked = mine.select_for_update(skip_locked=True, of=("self",)).get(amount=1000)
        locked.amount = 20
        locked.save()
        told = []
        transaction.on_commit(lambda: told.append("committed"))
    tell("on commit", told)
    try:
        with transaction.atomic():
            mine.update(amount=0)
            raise DatabaseError("of the application")
    except DatabaseError:
        tell("rolled back", mine.filter(amount=0).count())
    try:
        with transaction.atomic():
            try:
                Owner.objects.create(name=owner.name)
            except IntegrityError:
                mine.count()
    except transaction.TransactionManagementError as error:
        tell("broken", type(error).__name__)
    try:
        mine.select_for_update().first()
    except transaction.TransactionManagementError as error:
        tell("needs a block", type(error).__name__)


def cursors(mine, tell):
    tell("iterator", [thing.amount for thing in mine.iterator(chunk_size=7)][::5])
    seen = []
    for thing in mine.iterator(chunk_size=5):
        if len(seen) < 3:
            seen.append((thing.amount, mine.count(), Owner.objects.filter(pk=thing.owner_id).count()))
    tell("queries meanwhile", seen)
    half = mine.iterator(chunk_size=5)
    tell("half", [next(half).amount for _ in range(3)])
    half.close()
    with transaction.atomic():
        tell("in a block", sum(thing.amount for thing in mine.iterator(chunk_size=9)))
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from pg_cursors")
        tell("cursors left", cursor.fetchone())


def raw(mine, tell):
    def ask(query, *args):
        with connection.cursor() as cursor:
            cursor.execute(query, args)
            return cursor.fetchone()[0]

    with connection.cursor() as cursor:
        cursor.execute("set statement_timeout = '45s'")
        cursor.execute("select set_config('app.tenant', %s, false)", ["tenant"])
    tell("set", [ask("show statement_timeout"), ask("select current_setting('app.tenant')")])
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("set local statement_timeout = '50s'")
        tell("local", ask("show statement_timeout"))
    tell("after", ask("show statement_timeout"))
    with connection.cursor() as cursor:
        cursor.execute("reset statement_timeout")
    tell("reset", ask("show statement_timeout"))
    tell("raw", len(list(Thing.objects.raw("select * from drivers_thing where owner_id = %s", [mine[0].owner_id]))))
    tell("called", ask("select pg_advisory_lock(1000 + %s)", mine[0].owner_id))
    tell("unlocked", ask("select pg_advisory_unlock(1000 + %s)", mine[0].owner_id))
    tell("introspected", connection.introspection.table_names().count("drivers_thing"))


def zones(mine, tell):
    """Django sets the session's zone to UTC, and to another one for a connection that has its own."""
    noon = datetime.datetime(2026, 7, 1, 12, tzinfo=datetime.timezone.utc)
    thing = mine.first()
    thing.made = noon
    thing.save(update_fields=["made"])
    thing.refresh_from_db()
    tell("same moment", thing.made == noon)
    with timezone.override("Asia/Tokyo"):
        tell("hour there", mine.filter(pk=thing.pk).values_list("made__hour", flat=True)[0])
    with connection.cursor() as cursor:
        for zone in ("show timezone", "set time zone 'Asia/Tokyo'", "show timezone", "select %s::timestamptz::text"):
            cursor.execute(zone, [noon] if "%s" in zone else None)
            if cursor.description:
                tell(zone, cursor.fetchone())
    connection.ensure_timezone()
    with connection.cursor() as cursor:
        cursor.execute("show timezone")
        tell("zone kept", cursor.fetchone())


def client(number, report):
    try:
        for name in (f"client-{number}-first", f"client-{number}-second"):
            owner = Owner.objects.create(name=name)
            mine = basics(owner, report.tell)
            transactions(owner, mine, report.tell)
            cursors(mine, report.tell)
            raw(mine, report.tell)
            zones(mine, report.tell)
            connection.close()  # as at the end of a request
    finally:
        connection.close()


create_tables()
connection.close()
run_threads(CLIENTS, client)
