"""Work in pieces on workers: the order of its results, what workers say, and what cannot work."""

import logging
import os
import subprocess
import sys
import time

import pytest

from openmm_diffusion import cluster

pytest.importorskip("distributed")


def squared(number, told=False):
    if told:
        logging.getLogger("openmm_diffusion.somewhere").warning("%d is told", number)
    if number < 0:
        raise ValueError(f"number is {number}: give one above zero")
    time.sleep(0.02 * (number % 3))  # not ready in the order of their numbers
    return number**2, os.getpid()


@pytest.fixture(scope="module")
def client():
    with cluster.connected(workers=2) as found:
        yield found


def test_without_a_client_it_is_a_map_in_this_process():
    with cluster.connected() as client:
        assert client is None
    assert list(cluster.mapped(None, squared, [(2,), (3,)])) == [(4, os.getpid()), (9, os.getpid())]


def test_nothing_of_dask_is_imported_unless_it_is_asked_for():
    code = (
        "import sys; from openmm_diffusion import train; from openmm_diffusion.cli import main; "
        "from openmm_diffusion.cluster import connected\n"
        "with connected() as client: pass\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('dask', 'distributed')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.slow
def test_results_come_in_the_order_of_the_pieces_from_other_processes(client):
    found = list(cluster.mapped(client, squared, ((n,) for n in range(40))))
    assert [value for value, _ in found] == [n**2 for n in range(40)]
    processes = {pid for _, pid in found}
    assert len(processes) == 2 and os.getpid() not in processes


@pytest.mark.slow
def test_a_worker_keeps_memory_for_its_next_piece(client):
    """With Dask's own 64 kB the system finds and clears the same pages for every array."""
    for name, value in {"MALLOC_TRIM_THRESHOLD_": 2**28, "MALLOC_MMAP_THRESHOLD_": 2**25}.items():
        kept = client.run(os.environ.get, name)
        assert len(kept) == 2 and set(kept.values()) == {str(value)}


@pytest.mark.slow
def test_pieces_are_made_as_they_are_needed_and_cancelled_when_nobody_wants_them(client):
    made = []

    def pieces():
        for n in range(1000):
            made.append(n)
            yield (n,)

    results = cluster.mapped(client, squared, pieces())
    assert next(results)[0] == 0
    assert len(made) <= max(cluster.AT_LEAST, 2 * cluster.AHEAD)
    results.close()
    deadline = time.monotonic() + 20
    while client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) == 0


@pytest.mark.slow
def test_what_workers_say_is_said_here_and_what_they_raise_is_raised(client, caplog):
    with caplog.at_level(logging.WARNING):
        list(cluster.mapped(client, squared, [(5, True)]))
    assert [record.getMessage() for record in caplog.records] == ["5 is told"]
    with pytest.raises(ValueError, match="number is -1: give one above zero"):
        list(cluster.mapped(client, squared, [(1,), (-1,), (2,)]))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"workers": 0}, "workers is 0: give a number of processes, 1 to 4096"),
        ({"workers": True}, "workers is True"),
        ({"scheduler": "host"}, "scheduler is 'host': give an address such as tcp://host:8786"),
        ({"scheduler": "tcp://a:1", "workers": 2}, "scheduler is tcp://a:1 and workers 2: give one"),
        ({"scheduler": "tcp://127.0.0.1:9"}, "scheduler is tcp://127.0.0.1:9, and none answers there within 3 s"),
        ({"scheduler": "tcp://no-such-host.invalid:8786"}, "none answers there within 3 s"),
        ({"scheduler": "carrier-pigeon://a:1"}, "scheduler is carrier-pigeon://a:1, and none answers there"),
    ],
)
def test_what_cannot_work_is_said_within_seconds(given, says):
    began = time.monotonic()
    with pytest.raises((ValueError, ConnectionError), match=says), cluster.connected(**given):
        pass
    assert time.monotonic() - began < 8


def test_without_dask_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(ModuleNotFoundError, match=r"pip install 'openmm_diffusion\[dask\]'"),
        cluster.connected(workers=1),
    ):
        pass


def test_what_is_no_client_is_refused():
    assert cluster.checked(None) is None
    with pytest.raises(TypeError, match="client is 'tcp://host:8786': give a distributed.Client"):
        cluster.checked("tcp://host:8786")
