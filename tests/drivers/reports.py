"""Clients that tell what they see. All must tell the same; it is printed once, to be compared with what another server
lets its clients see."""

import sys
import threading


class Report:
    """One client's lines."""

    def __init__(self):
        self.lines = []

    def tell(self, what, seen):
        self.lines.append(f"{what}: {seen!r}")

    def tell_error(self, what, error):
        """An error by its class and SQLSTATE: texts name things that differ from client to client."""
        self.tell(what, (type(error).__name__, getattr(error, "sqlstate", None)))


def print_the_one(reports, failures):
    """Prints what all told, or ends with the first failure or difference."""
    if failures:
        sys.exit(f"{len(failures)} of {len(reports)} clients failed, first: {failures[0]}")
    for number, report in enumerate(reports):
        for ours, first in zip(report.lines, reports[0].lines):
            if ours != first:
                sys.exit(f"client {number} saw {ours}\nclient 0 saw {first}")
        if len(report.lines) != len(reports[0].lines):
            sys.exit(f"client {number} told {len(report.lines)} things, client 0 {len(reports[0].lines)}")
    print("\n".join(reports[0].lines))


def run_threads(count, client):
    """Runs `client(number, report)` on a thread each."""
    reports = [Report() for _ in range(count)]
    failures = []

    def run(number):
        try:
            client(number, reports[number])
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the result
            last = reports[number].lines[-1:] or ["nothing"]
            failures.append(f"client {number}, after {last[0]}: {error!r}")

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print_the_one(reports, failures)
