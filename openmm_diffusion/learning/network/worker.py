"""One of the processes of a network's training, as `train_in_processes` starts them: not run by hand."""

import json
import logging
import signal
import sys
import warnings
from pathlib import Path

from ...data.frames import Frames
from ...model.denoiser import Denoiser
from ..config import Config
from .processes import end_with_parent, place


def main(directory):
    """Take part in the training described by the files of a directory; the first process writes result.json there."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the process that started this one says what there is to say
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*barrier\\(\\).*")  # gloo has no devices to name
    from ..training import network_task
    from .loop import train_network

    settings = json.loads((directory / "run.json").read_text())
    number = len(list(directory.glob("training-*.npz")))
    parts = [[Frames.load(directory / f"{name}-{i}.npz") for i in range(number)] for name in ("training", "validation")]
    denoiser = Denoiser.load(directory / "denoiser.safetensors")
    task, _, _ = network_task(denoiser, *parts, Config.model_validate(settings["config"]))
    result = train_network(task, Path(settings["output"]), settings["resume"], settings["progress"])
    if place().first:
        (directory / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
