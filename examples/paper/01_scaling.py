"""The scale kT/sigma^2: where the denoiser becomes a force, and what MD does without it.

    python examples/paper/01_scaling.py [--quick] [--seed 0] [--output DIR]

Wells of one coordinate (a spring, a tilted double well) and bonds of the same shapes between
two particles, at 300 K.  Configurations are drawn from the exact density.  In one dimension
the denoiser is a regression of x - y on y, whose target holds no force and no kT; for dimers
it is the package's own training, of pair potential and of network.  What is learnt stands beside
the force of the clean and of the noised ensemble, the latter by quadrature.  Then Langevin MD at
300 K: with the right scale, with that of 293.15 K, and with the scale left out in eV and Angstrom.
"""

import logging

import torch
from protocol.records import Records, parse, run, tell
from scale.bonds import dimer_md_rows, dimer_rows
from scale.claims import claims
from scale.figure import draw
from scale.regression import fit_rows, md_rows
from scale.wells import KT

NAME = "01_scaling"
SETTINGS = {
    False: dict(
        sigmas=(0.0025, 0.005, 0.01, 0.0265), frames=1_000_000, md_sigmas=(0.005, 0.01, 0.0265), particles=500,
        steps=10_000, dimer_sets=12, dimer_frames=20_000, network_sets=3, network_steps=1500, network_frames=10_000,
        dimers=500, bonds=("harmonic", "double well"),
    ),
    True: dict(
        sigmas=(0.005, 0.0265), frames=200_000, md_sigmas=(0.005,), particles=200, steps=2000, dimer_sets=4,
        dimer_frames=5000, network_sets=0, network_steps=0, network_frames=0, dimers=200,
        bonds=("harmonic",),
    ),
}  # fmt: skip


def main(arguments=None):
    options = parse(__doc__, arguments)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    size, seed = SETTINGS[options.quick], options.seed
    records = Records(options.output / f"{NAME}.csv")
    for well in ("harmonic", "double well"):
        for sigma in size["sigmas"]:
            given = dict(well=well, sigma=sigma, frames=size["frames"], seed=seed)
            records.part("fit", {**given, "steps": 0}, lambda given=given: fit_rows(**given))
        for sigma in size["md_sigmas"]:
            given = dict(well=well, sigma=sigma, seed=seed, **{k: size[k] for k in ("frames", "particles", "steps")})
            records.part("md", given, lambda given=given: md_rows(**given))
        for learner in ("dimer", "network"):
            sets, frames, steps = (size.get(f"{learner}_{what}", 0) for what in ("sets", "frames", "steps"))
            given = dict(well=well, sigma=0.005, frames=frames, sets=sets, steps=steps, seed=seed)
            if sets:
                records.part("dimer", given, lambda given=given: dimer_rows(**given))
        if well in size["bonds"]:
            given = dict(well=well, sigma=0.005, frames=size["dimer_frames"], replicas=size["dimers"], seed=seed)
            given["steps"] = size["steps"]
            records.part("dimer md", given, lambda given=given: dimer_md_rows(**given))
    table = records.table()
    draw(table, options.output / f"{NAME}.png", KT)
    tell(claims(table), options.output / f"{NAME}_claims.csv")
    return table


if __name__ == "__main__":
    run(main)
