"""The start of a path in a process of its own: what the process answers, its memory, and what its cache keeps."""

import io
import json
import subprocess
import sys
from pathlib import Path

from models import QUICK, licl_denoiser, licl_frames

from openmm_diffusion.workflows.benchmark import coldstart


def test_the_child_process_answers_with_numbers_or_a_reason(tmp_path, monkeypatch, capsys):
    licl_denoiser(kinds=QUICK).save(tmp_path / "m.safetensors")
    request = dict(
        path="native", copies=1, model=str(tmp_path / "m.safetensors"), nequip_file=None, timestep=0.004,
        platform="CPU", threads=1, positions=licl_frames().positions[0].tolist(),
    )  # fmt: skip

    def answer(**changes):
        monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({**request, **changes})))
        coldstart.main()
        return json.loads(capsys.readouterr().out)

    result = answer()
    assert 0 < result["start_s"] < 60 and 0 <= result["compile_s"] < 60
    assert "there is no model file nowhere" in answer(model="nowhere.safetensors")["reason"]
    assert "nequip runs one copy" in answer(path="nequip", copies=2)["reason"]


def test_peak_memory_is_a_peak():
    """In a process of its own, whose memory is small enough to be doubled."""
    script = """
import numpy as np
from openmm_diffusion.workflows.benchmark import coldstart
before = coldstart.peak_memory()
held = np.ones(before // 8)  # as much again
peak = coldstart.peak_memory()
del held
assert before < peak < 3 * before
assert np.isclose(coldstart.peak_memory(), peak, rtol=0.02)  # the kernel counts in batches of pages
"""
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert child.returncode == 0, child.stderr


def test_a_path_that_leaves_compiled_code_is_started_a_second_time(monkeypatch):
    """The second process finds in the cache what the first left there; without it there is no second."""
    seen = []

    def child(request, cache):
        seen.append(sorted(file.name for file in Path(cache).iterdir()))
        if request["path"] == "compiled":
            (Path(cache) / "kernel.so").touch()
        return {"start_s": 50.0 if len(seen) == 1 else 5.0}

    monkeypatch.setattr(coldstart, "_in_fresh_process", child)
    assert coldstart.cold_start({"path": "compiled"}) == {"start_s": 50, "restart_s": 5}
    assert seen == [[], ["kernel.so"]]
    assert coldstart.cold_start({"path": "eager"}) == {"start_s": 5} and len(seen) == 3
