"""Nothing is lost when a process is killed: runs of every kind, killed at random moments, go on to the same end."""

import csv
import os
from pathlib import Path

import kills
import numpy as np
import pytest

pytestmark = pytest.mark.slow

QUICK = ["train, closed form", "simulate, native"]
#: Of the whole campaign: 106 in all.
NUMBERS = dict.fromkeys(kills.SCENARIOS, 8) | {
    "simulate, compiled": 6,
    "train, network": 10,
    "refine": 6,
    "generate": 6,
    "sample": 6,
}
RESULTS = Path(__file__).parent / "results" / "kills.csv"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return kills.prepared(tmp_path_factory.mktemp("inputs"))


@pytest.mark.parametrize("name", QUICK)
def test_a_run_that_was_killed_goes_on_to_the_same_end(name, inputs, tmp_path):
    kills.Campaign(name, inputs, tmp_path).killed(1, np.random.default_rng(3))


@pytest.mark.reliability
@pytest.mark.parametrize("name", kills.SCENARIOS)
@pytest.mark.timeout(3600)
def test_a_hundred_kills(name, inputs, tmp_path):
    """Its rows are written to results/kills.csv where OPENMM_DIFFUSION_WRITE_RESULTS is set."""
    rows = []

    def record(**row):
        rows.append(row)
        if "OPENMM_DIFFUSION_WRITE_RESULTS" in os.environ:
            RESULTS.parent.mkdir(exist_ok=True)
            begun = RESULTS.exists()
            with open(RESULTS, "a", newline="") as file:
                writer = csv.DictWriter(file, list(row))
                if not begun:
                    writer.writeheader()
                writer.writerow(row)

    rng = np.random.default_rng(list(kills.SCENARIOS).index(name))
    kills.Campaign(name, inputs, tmp_path).killed(NUMBERS[name], rng, record)
    assert len(rows) == NUMBERS[name]


def test_the_campaign_has_more_than_a_hundred_kills():
    assert sum(NUMBERS.values()) == 106
