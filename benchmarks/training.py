"""Where the time of a training goes: the pair fit, the parts of a network's step, checks, and Lightning.

    python benchmarks/training.py
    python benchmarks/training.py --against OTHER_CHECKOUT

CPU time of one core, which other work on the machine changes less than wall time; medians of
rounds that take all quantities in turn.  With --against, the same is measured with the package of
another checkout, in turns with this one, and the ratio of the two is printed.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas

ROOT = Path(__file__).resolve().parents[1]
LICL = ROOT / "examples" / "licl"


def cpu_time(function):
    """CPU time of a call, s."""
    start = time.process_time()
    function()
    return time.process_time() - start


def pair_fits(frames):
    """CPU time of `train` without a network on 500 frames, start to end, s."""
    import yaml

    from openmm_diffusion import train

    times = {}
    for name, label in (("accurate", "clean"), ("licl", "noised"), ("licl_all_sigma", "7 noise levels")):
        config = yaml.safe_load((LICL / f"{name}.yaml").read_text())
        config["data"] = {**config["data"], "frames": None, "limit": 500}
        times[f"pair fit, 500 frames, {label}"] = cpu_time(lambda c=config: train(frames, c | {"network": None}))
    return times


def network_task(frames, config):
    """The task that `train` would hand to Lightning."""
    from openmm_diffusion import train
    from openmm_diffusion.learning.network import loop

    class Captured(Exception):
        pass

    def capture(task, *_):
        raise Captured(task)

    run, loop.train_network = loop.train_network, capture
    try:
        train(frames, config, progress=False)
    except Captured as captured:
        return captured.args[0]
    finally:
        loop.train_network = run


def bare_steps(task):
    """Functions that take a step of a task without Lightning, and the part of it after the gradient."""
    import torch
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    settings, network = task.config.training, task.network.train()
    optimizer = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10**9)
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay), use_buffers=True)
    task.train().log = lambda *args, **options: None
    number = iter(range(10**9))

    def update():
        torch.nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_clip)
        optimizer.step()
        schedule.step()
        averaged.update_parameters(network)

    def step():
        loss = task.training_step(torch.tensor([next(number)]), 0)
        optimizer.zero_grad()
        loss.backward()
        update()

    return step, update


def step_parts(task, rounds):
    """Median CPU time of a step and of its parts, s."""
    import torch

    from openmm_diffusion.model.sum import energy_and_forces
    from openmm_diffusion.noise import draw_noise, draw_sigmas
    from openmm_diffusion.space.batch import make_batch

    noise, generator = task.config.noise, torch.Generator().manual_seed(0)
    frames = task.systems[0].training.at(torch.arange(task.config.training.batch) * 7)

    def draw():
        return draw_noise(frames.positions, noise.draws, noise.antithetic, generator, frames.mask)

    eps = draw()
    sigma = draw_sigmas(eps, noise, generator)
    y, boxes = frames.noised(sigma, eps)
    step, update = bare_steps(task)
    network, fixed, species = task.network, task.systems[0].fixed, frames.species

    def force(model, differentiable=False):
        return energy_and_forces(model, y, boxes, species, differentiable)[1]

    parts = {
        "draw": draw,
        "neighbours of the fixed terms": lambda: make_batch(y, boxes, species, fixed.cutoff),
        "fixed terms, neighbours included": lambda: force(fixed),
        "neighbours of the network": lambda: make_batch(y, boxes, species, network.cutoff),
        "network, energy": lambda: network(y, boxes, species),
        "network, energy and force": lambda: force(network, True),
        "network, energy, force and backward": lambda: force(network, True).square().sum().backward(),
        "clip, AdamW, average": update,
        "whole": step,
    }
    times = {name: [] for name in parts}
    for _ in range(rounds + 2):
        for name, part in parts.items():
            times[name].append(cpu_time(part))
    return {f"step: {name}": float(np.median(values[2:])) for name, values in times.items()}


def lightning_times(task, twin):
    """CPU time of steps under Lightning and of checks of the held-out loss, s; a bare step of `twin` after each."""
    from openmm_diffusion.learning.network.loop import train_network

    bare, _ = bare_steps(twin)
    times, bare_times, checks, last = [], [], {}, [None]
    train_step, check = task.training_step, task.validation_step

    def marked_step(*arguments):
        if last[0] is not None:
            times.append(time.process_time() - last[0])
        bare_times.append(cpu_time(bare))
        last[0] = time.process_time()
        return train_step(*arguments)

    def marked_check(*arguments):
        epoch, last[0] = task.current_epoch, None
        checks[epoch] = checks.get(epoch, 0.0) + cpu_time(lambda: check(*arguments))

    task.training_step, task.validation_step = marked_step, marked_check
    with tempfile.TemporaryDirectory() as directory:
        train_network(task, Path(directory), False, progress=True)
    first, second = checks.values()
    with_lightning, without = float(np.median(times)), float(np.median(bare_times))
    return {
        "step under Lightning": with_lightning, "of that, Lightning": with_lightning - without,
        "first check": first, "later check": second,
    }  # fmt: skip


def measure(config, rounds):
    """All times of the package that is on the path, s."""
    import torch

    torch.set_num_threads(1)
    from openmm_diffusion import Frames
    from openmm_diffusion.learning.config import read_config

    for name in ("lightning.pytorch", "openmm_diffusion"):
        logging.getLogger(name).setLevel(logging.ERROR)
    config = read_config(config)
    frames = Frames.load(config.data.frames, config.data.temperature)
    config.training.steps = 2 * config.training.check_every
    times = pair_fits(frames) | step_parts(network_task(frames, config), rounds)
    return times | lightning_times(network_task(frames, config), network_task(frames, config))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default=LICL / "licl.yaml", type=Path, help="a training with a network")
    parser.add_argument("--rounds", type=int, default=20, help="repeats of each part of a step")
    parser.add_argument("--repeats", type=int, default=3, help="processes for each checkout, in turn")
    parser.add_argument("--against", type=Path, help="another checkout of this repository")
    parser.add_argument("--output", type=Path, default=Path("training.csv"))
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print("\n" + json.dumps(measure(arguments.config, arguments.rounds)))
        return
    checkouts = {"this": ROOT} | ({"other": arguments.against.resolve()} if arguments.against else {})
    runs = {name: [] for name in checkouts}
    own = [__file__, "--measure", "--config", str(arguments.config.resolve()), "--rounds", str(arguments.rounds)]
    for _ in range(arguments.repeats):
        for name, path in checkouts.items():
            environment = {**os.environ, "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                [sys.executable, *own], env=environment, cwd=path, stdout=subprocess.PIPE, text=True, check=True
            )
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    # ms: most are parts of a step.
    table = pandas.DataFrame({name: 1e3 * pandas.DataFrame(found).median() for name, found in runs.items()})
    if "other" in table:
        table["other / this"] = table["other"] / table["this"]
    table.index.name = "CPU time / ms"
    print(table.round(2).to_string())
    step, lightning = table.loc["step under Lightning", "this"], table.loc["of that, Lightning", "this"]
    print(f"{1e3 / step:.1f} steps/s on one core; Lightning {100 * lightning / step:.0f} % of a step")
    table.round(4).to_csv(arguments.output)


if __name__ == "__main__":
    main()
