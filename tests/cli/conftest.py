"""What tests of commands share: processes that have imported what commands need."""

import pytest
from commandline import prepared


@pytest.fixture(scope="module")
def run_prepared():
    with prepared() as function:
        yield function
