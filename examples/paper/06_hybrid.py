"""Force labels and duplicated noise together: how much each is worth, and how the two are best combined.

    python examples/paper/06_hybrid.py [FRAMES] [--quick] [--seed 0] [--output DIR]

2.4 M LiCl (FRAMES with exact mean forces; default: the bundled ones, of which 400 have forces, enough for --quick).
Random frames of three quarters of the replicas, a part of them with force labels: the exact mean force plus Gaussian
noise, as large as that of instantaneous all-atom forces or a tenth of it.  Pair and many-body energies in closed form,
from one, two, four and all draws of noise for each frame, with labels weighed in three ways; networks from one and four
fixed draws and from fresh ones.  Force errors are taken against the exact mean force of the other replicas; MD of some
models says how long runs live, and how far their g(r) is from that of the frames.
"""

import functools
import itertools
import logging
import os

import torch
from hybrid.blends import LABELS, MEASURED, PACKAGE, TEXTBOOK
from hybrid.claims import claims, summary
from hybrid.figure import draw
from hybrid.linear import FOLDS, INFINITE, error_rows, md_rows
from hybrid.network import network_rows
from protocol.licl import BUNDLED, ion_frames
from protocol.records import Records, parse, run, tell
from protocol.training import NETWORK, TRAINING

NAME = "06_hybrid"
ALL = (PACKAGE, TEXTBOOK, MEASURED, LABELS)
#: Noise levels (nm) with what is fitted there: kinds of labels, draws of noise.
SETTINGS = {
    False: dict(
        seeds=3, sizes=(250, 500, 1000), fractions=(0.0, 0.1, 0.25, 0.5, 1.0),
        basis=dict(cutoff=0.8, radial=4, lmax=2),
        levels={
            0.0: (("instantaneous", "averaged"), ()),
            0.005: (("instantaneous", "averaged"), (1, 2, 4, INFINITE)),
        },
        md_seeds=3, md_size=500, md_fractions=(0.0, 1.0),
        md_levels={0.0: (("instantaneous", "averaged"), ())},
        md=dict(runs=8, duration=16.0, discard=4.0, backend="compiled"),
        network_seeds=3, network_size=500, network_sigma=0.005, network_steps=400, network_fractions=(0.0, 0.5, 1.0),
        network_draws=(1, 4), network_md=dict(runs=6, duration=4.0, backend="python"),
    ),
    True: dict(
        seeds=2, sizes=(80, 160), fractions=(0.0, 0.5, 1.0), basis=dict(cutoff=0.6, radial=2, lmax=1),
        levels={0.0: (("instantaneous", "averaged"), ()), 0.005: (("instantaneous",), (1, 4))},
        md_seeds=1, md_size=160, md_fractions=(0.0,), md_levels={0.0: (("averaged",), ())},
        md=dict(runs=2, duration=1.0, discard=0.2, backend="python"),
        network_seeds=1, network_size=160, network_sigma=0.005, network_steps=20, network_fractions=(0.0, 1.0),
        network_draws=(4,), network_md=dict(runs=2, duration=0.4, backend="python"),
    ),
}  # fmt: skip


def jobs(size, path, digest, seed):
    """Parts: force errors of the linear energies at all levels, their MD, and networks; seed by seed, each."""
    about = {"data": digest, "folds": FOLDS, "steps": 0}
    found = []
    for number in range(size["seeds"]):
        for sigma, (labels, draws) in size["levels"].items():
            given = dict(
                seed=100 * seed + number, sigma=sigma, sizes=size["sizes"], draws=draws, fractions=size["fractions"],
                labels=labels, strategies=ALL, basis=size["basis"],
            )  # fmt: skip
            settings = {**about, **given, "frames": size["sizes"][-1]}
            found.append((f"linear, {sigma:g} nm", settings, functools.partial(error_rows, path, **given)))
    for number in range(size["md_seeds"]):
        for sigma, (labels, draws) in size["md_levels"].items():
            given = dict(
                seed=100 * seed + number, sigma=sigma, sizes=(size["md_size"],), draws=draws,
                fractions=size["md_fractions"], labels=labels, strategies=(PACKAGE,), basis=size["basis"], **size["md"],
            )  # fmt: skip
            settings = {**about, **given, "frames": size["md_size"]}
            found.append((f"md, {sigma:g} nm", settings, functools.partial(md_rows, path, **given)))
    for number in range(size["network_seeds"]):
        for draws, fraction in itertools.product(size["network_draws"], size["network_fractions"]):
            given = dict(
                seed=100 * seed + number, sigma=size["network_sigma"], n=size["network_size"], draws=draws,
                fraction=fraction, fractions=size["network_fractions"], labels="instantaneous",
                steps=size["network_steps"], **size["network_md"],
            )  # fmt: skip
            settings = {**about, **given, "frames": given["n"], "network": NETWORK, "training": TRAINING}
            found.append(("network", settings, functools.partial(network_rows, path, **given)))
    return found


def main(arguments=None):
    options = parse(__doc__, arguments, BUNDLED)
    frames = ion_frames(options.frames)
    for name in ("lightning.pytorch", "openmm_diffusion"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    records = Records(options.output / f"{NAME}.csv")
    todo = jobs(SETTINGS[options.quick], str(options.frames.resolve()), frames.digest(), options.seed)
    records.parts(todo, os.cpu_count() or 1)
    table = records.table()
    draw(table, options.output / f"{NAME}.png")
    print(summary(table).to_string(index=False))
    tell(claims(table), options.output / f"{NAME}_claims.csv")
    return table


if __name__ == "__main__":
    run(main)
