"""The force away from the state of its data: other temperatures, other concentrations.

    python examples/paper/08_transfer.py [DIR] [--salt FRAMES] [--quick] [--seed 0] [--output DIR]

One-bead water at 280, 300, 330 and 360 K and one density, and LiCl at 1.2 and 2.4 mol/L and 300 K, all from SPC/E water
in all atoms, which `generate` makes in DIR (runs/transfer by default; interrupted, it goes on there).  --salt names
frames at 2.4 mol/L that are there already.  Pair and many-body energies are fitted to the frames of every state in
closed form, positions alone, and to all states at once.  Each force is taken to every other state: as it is, times the
ratio of temperatures, or from the line in temperature through two other states; and compared with the state's own
force, with the instantaneous force labels of its frames, and with its g(r), by MD there.
"""

import argparse
import functools
import os
from pathlib import Path

import pandas
import torch
from protocol.records import Records, parse, run, tell
from protocol.training import quiet
from transfer.claims import claims, reach, summary
from transfer.figure import draw
from transfer.measure import fit_rows, fits_of, force_rows, md_rows
from transfer.states import Sources, licl, water

NAME = "08_transfer"
SETTINGS = {
    False: dict(
        seeds=3,
        liquids=(
            water(
                (280, 300, 330, 360), 1.864, 216, dict(runs=8, discard=20, frames=100, interval=0.5, cutoff=0.9),
                {"pair": {"sigma": 0, "cutoff": 0.85, "spacing": 0.02},
                 "manybody": {"sigma": 0, "cutoff": 0.45, "radial": 6, "lmax": 3}},
                dict(copies=2, duration=25.0, discard=4.0, backend="compiled"), (0.2, 0.93), 3,
            ),
            licl(
                (12, 24), 2.526, dict(runs=8, discard=100, frames=200, interval=1),
                {"pair": {"sigma": 0, "cutoff": 1.0, "spacing": 0.02},
                 "manybody": {"sigma": 0, "cutoff": 0.8, "radial": 4, "lmax": 2}},
                dict(copies=16, duration=50.0, discard=5.0, backend="compiled"), (0.2, 1.0), 2,
            ),
        ),
    ),
    True: dict(
        seeds=2,
        liquids=(
            water(
                (300, 360), 1.4, 91, dict(runs=3, discard=1, frames=15, interval=0.2, cutoff=0.6),
                {"pair": {"sigma": 0, "cutoff": 0.6, "spacing": 0.04, "folds": 2},
                 "manybody": {"sigma": 0, "cutoff": 0.4, "radial": 2, "lmax": 1, "folds": 2}},
                dict(copies=2, duration=1.0, discard=0.2, backend="python"), (0.2, 0.65), 1,
            ),
            licl(
                (4, 8), 1.5, dict(runs=3, discard=1, frames=15, interval=0.2, cutoff=0.6),
                {"pair": {"sigma": 0, "cutoff": 0.7, "spacing": 0.04, "folds": 2}},
                dict(copies=2, duration=1.0, discard=0.2, backend="python"), (0.2, 0.7), 1,
            ),
        ),
    ),
}  # fmt: skip


def jobs(size, directory, liquid, given, digests, seed):
    """Parts of one liquid: fits first, then forces and MD, state by state."""
    fits, found = [], []
    for number in range(100 * seed, 100 * seed + size["seeds"]):
        about = {"seed": number, "liquid": liquid.name, "data": digests, "model": liquid.model, "apart": liquid.apart,
                 "frames": liquid.about["runs"] * liquid.about["frames"], "steps": 0}  # fmt: skip
        arguments = directory, liquid, given, number
        for states, half in fits_of(liquid):
            settings = {**about, "states": states, "half": half}
            fits.append(("fit", settings, functools.partial(fit_rows, *arguments, states, half)))
        for target in liquid.states:
            settings = {**about, "target": target, "states": tuple(liquid.states)}
            found.append(("force", settings, functools.partial(force_rows, *arguments, target)))
            curves = Path(directory) / "curves" / f"{liquid.name}-{target}-{number}.csv"
            md = functools.partial(md_rows, *arguments, target, str(curves))
            found.append(("md", {**settings, "md": liquid.md, "range": liquid.r_range}, md))
    return fits, found


def main(arguments=None):
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--salt", type=Path)
    salt, rest = own.parse_known_args(arguments)
    options = parse(__doc__, rest, Path("runs/transfer"))
    quiet()
    torch.set_num_threads(1)
    size, directory = SETTINGS[options.quick], options.frames / "quick" if options.quick else options.frames
    records = Records(options.output / f"{NAME}.csv")
    for liquid in size["liquids"]:
        given = {list(liquid.states)[-1]: str(salt.salt.resolve())} if salt.salt and liquid.name == "LiCl" else {}
        sources = Sources(directory, liquid, given)
        sources.make(functools.partial(print, flush=True))
        digests = [sources.frames(state).digest() for state in liquid.states]
        for todo in jobs(size, str(directory), liquid, given, digests, options.seed):
            records.parts(todo, os.cpu_count() or 1)
    table, curves = records.table(), options.output / f"{NAME}_curves.csv"
    kept = [directory / "curves" / f"{liquid.name}-{target}-{100 * options.seed}.csv"
            for liquid in size["liquids"] for target in liquid.states]  # fmt: skip
    if all(path.exists() for path in kept):
        pandas.concat(map(pandas.read_csv, kept)).to_csv(curves, index=False)
    draw(table[table["part"] != "fit"], pandas.read_csv(curves), options.output / f"{NAME}.png")
    rest = table[table["part"] != "fit"]
    print(summary(rest).to_string(index=False))
    print(reach(rest).to_string(index=False))
    tell(claims(rest), options.output / f"{NAME}_claims.csv")
    return table


if __name__ == "__main__":
    run(main)
