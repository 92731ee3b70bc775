"""Locks, semaphores, conditions, events and barriers, under each start method."""

from __future__ import annotations

import os

import body_synchronize
import engine_witness
import pytest
import test_pool
from programs import Programs, grid
from test_cpython_futures import must_pass
from test_pool import SECONDS, Suite

# With it, all of CPython's tests of multiprocessing, by each method: 3 minutes each.
SLOW = "PROCESSION_TEST_SLOW" in os.environ


@pytest.mark.parametrize(("name", "engine", "method"), grid(body_synchronize))
def test_synchronize(programs: Programs, name: str, engine: str, method: str) -> None:
    programs.run_case(body_synchronize, name, engine, method)


# CPython's own tests.

# Method of a test class -> why it can't pass on procession; docs/compatibility.md has them, too.
EXCEPTIONS = {
    "test_queue_feeder_donot_stop_onexc": "put() itself raises what can't be pickled",
    "test_resource_tracker_sigkill": "it wants the tracker for a semaphore, which needs none",
    "test_noforkbomb": "a main without a guard runs",
    "test_resource_tracker": "it unlinks the name of a semaphore, which has none",
    "test_spawn_sys_executable_none_allows_import": "multiprocessing may not be imported before it",
    "test_forkserver_without_auth_fails": "it speaks to the standard's fork server over its socket",
    **test_pool.EXCEPTIONS,
}
QUICK = "Queue|Semaphore|Value|Array|SharedCTypes"
WANTED = r"WithProcessesTest(?:{})\.test_.*|TestSimpleQueue\.test_.*"
# The others wait most of their time, and none of them depends on the method. SLOW runs all.
ALL = {"fork": f"{QUICK}|Lock|Event"}
WITNESS = '''
    """Notes what is made of the session's memory; imported by `site` after procession is there."""

    import multiprocessing.queues
    import multiprocessing.sharedctypes
    import multiprocessing.synchronize
    import engine_witness

    def noting(kind):
        init = kind.__init__

        def init_and_note(self, *args, **options):
            init(self, *args, **options)
            engine_witness.note("made", module=kind.__module__)

        kind.__init__ = init_and_note

    if engine_witness.PATH:
        for module in (multiprocessing.queues, multiprocessing.synchronize):
            for name in {"Queue", "SimpleQueue", *module.__all__} & set(vars(module)):
                noting(getattr(module, name))
'''


@pytest.mark.timeout(SECONDS + 60)
def test_cpythons_own(programs: Programs, method: str) -> None:
    """CPython's tests of queues, locks, values and arrays pass on those of the session."""
    suite = Suite(programs, method, ".*" if SLOW else WANTED.format(ALL.get(method, QUICK)))
    suite.witness("made_witness", WITNESS)
    wanted = [name for name in suite.names() if name.rpartition(".")[2] not in EXCEPTIONS]
    assert len(wanted) > 20, wanted
    ended = suite.run(wanted)
    must_pass({name: end for name, end in ended.items() if end[0] != "skipped"})
    assert len([name for name, (outcome, _) in ended.items() if outcome == "passed"]) > 20, ended
    made = engine_witness.read(suite.log)["made"]
    modules = {fact["module"] for fact in made}
    assert modules >= {"procession.queues", "procession.synchronize"}, modules
