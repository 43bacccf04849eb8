"""The barrier between contact and the solvent for one Li and one Cl in water, which equilibrium hardly visits.

    python examples/licl/umbrella.py [OUTPUT] [--results DIR] [--frames N]

Generates the windows of umbrella.yaml, and as many runs of as many frames without a bias; fits a pair potential to the
positions of each, which takes the bias of the windows back out; and compares both with a histogram of the distance,
reweighted by its bias (Shirts and Chodera, J. Chem. Phys. 129, 124105 (2008)).  A second call goes on where the first
was stopped, and makes nothing again that is in OUTPUT (runs/umbrella by default); a larger N, the frames of each run,
goes on with the same runs.  The table and the picture go to DIR (examples/licl/results by default).
"""

import argparse
import logging
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas

from openmm_diffusion import train
from openmm_diffusion.settings import read_yaml
from openmm_diffusion.simulation.generation import generate
from openmm_diffusion.units import thermal_energy

HERE = Path(__file__).parent
FIT = {
    "data": {"test_fraction": 0, "validation_fraction": 0},
    "prior": {"coulomb": {"charges": {"Li": 1, "Cl": -1}, "relative_permittivity": 78.3}},
    "pair": {"sigma": 0, "cutoff": 0.74, "spacing": 0.02},
    "network": None,
}
#: Bins of the distance in nm, and the one whose potential is set to 0.
EDGES = np.linspace(0.19, 0.69, 51)
MIDDLES = (EDGES[1:] + EDGES[:-1]) / 2
ZERO = (MIDDLES > 0.58) & (MIDDLES < 0.64)
#: Where contact and the barrier are looked for, nm.
CONTACT, BARRIER = (0.2, 0.28), (0.28, 0.42)
#: Parts of the data, each of runs and stretches of its own, whose scatter is the error.
PARTS = 4


def windows_and_equilibrium(output, n_frames):
    """Frames with and without a bias, and the windows as an array of (centre, stiffness)."""
    asked = read_yaml(HERE / "umbrella.yaml")
    asked["frames"] = n_frames or asked["frames"]
    windows = asked["bias"]["windows"]
    biased = generate(asked, output / "windows", resume=(output / "windows").exists())
    del asked["bias"]
    asked["runs"] *= len(windows)
    free = generate(asked, output / "equilibrium", resume=(output / "equilibrium").exists())
    return biased, free, np.array([(window["centre"], window["stiffness"]) for window in windows])


def distances(frames):
    """Of Li and Cl to the nearest image, shape (n_frames,), nm."""
    vectors = (frames.positions[:, 1] - frames.positions[:, 0]).astype(float)
    edge = np.diag(frames.box)
    return np.linalg.norm(vectors - edge * np.round(vectors / edge), axis=-1)


def fitted(frames):
    """u(r) of a pair potential and the Coulomb energy of the box, kJ/mol, in the bins."""
    model = train(frames, FIT, progress=False)
    x = np.zeros((len(MIDDLES), 2, 3))
    x[:, 1, 0] = MIDDLES
    energies = model.energy(x, frames.box)
    return energies - energies[ZERO].mean()


def reweighted(r, window, windows, kT):
    """-kT ln of the density of the distance per volume, kJ/mol, in the bins: frames of all windows, bias taken out.

    `window` is the number of the window of each frame.  The free energies f of the windows solve
    exp(-f_i) = sum_n exp(-V_i(r_n)) / sum_k N_k exp(f_k - V_k(r_n)), energies in kT.
    """
    weights = np.exp(-windows[:, 1] * (r[:, None] - windows[:, 0]) ** 2 / 2 / kT)
    numbers = np.bincount(window, minlength=len(windows))
    f = np.zeros(len(windows))
    for _ in range(5000):
        of_frames = 1 / (weights @ (numbers * np.exp(f)))
        new = -np.log(weights.T @ of_frames)
        new -= new[0]
        change, f = abs(new - f).max(), new
        if change < 1e-6:
            break
    counts, _ = np.histogram(r, EDGES, weights=of_frames)
    with np.errstate(divide="ignore"):  # infinite where there is no frame
        w = -kT * np.log(counts / MIDDLES**2)
    return w - w[ZERO].mean()


def parts(frames, n_windows):
    """Boolean arrays that choose disjoint parts of the frames: every window has a share in each."""
    round_of = frames.replica // n_windows
    half = np.concatenate([np.arange(n) >= n / 2 for n in np.bincount(frames.replica)])
    return [(round_of % (PARTS // 2) == i // 2) & (half == i % 2) for i in range(PARTS)]


def curves(frames, windows, kT):
    """The curve of the fit and that of the histogram, of all frames and of each part of them."""
    r, window = distances(frames), frames.replica % len(windows)
    chosen = [np.full(len(frames), True), *parts(frames, len(windows))]
    fits = np.array([fitted(frames[one]) for one in chosen])
    return {"": fits, "_histogram": np.array([reweighted(r[one], window[one], windows, kT) for one in chosen])}


def with_error(values):
    """The first of some values, and its standard error from the others, which are of parts of the frames."""
    with np.errstate(invalid="ignore"):  # no error where a part has no frame
        return values[0], values[1:].std(axis=0, ddof=1) / np.sqrt(PARTS)


def heights(curve):
    """Energies of the barrier above contact, and above the zero at 0.6 nm, and the two distances; NaN without data."""
    near, over = ((MIDDLES > low) & (MIDDLES < high) for low, high in (CONTACT, BARRIER))
    if not (np.isfinite(curve[near]).any() and np.isfinite(curve[over]).all()):
        return [np.nan] * 4
    contact, top = np.nanmin(curve[near]), curve[over].max()
    return [top - contact, top, MIDDLES[near][np.nanargmin(curve[near])], MIDDLES[over][curve[over].argmax()]]


def figure(table, path):
    fig, (above, below) = plt.subplots(2, 1, figsize=(6, 6), sharex=True, height_ratios=(3, 1), layout="constrained")
    for name, label, color in (("windows", "fit to the windows", "C0"), ("equilibrium", "fit to equilibrium", "C3")):
        error = table[f"{name}_error"]
        above.plot(table["r"], table[name], color=color, label=label)
        above.fill_between(table["r"], table[name] - error, table[name] + error, color=color, alpha=0.25, lw=0)
        above.plot(
            table["r"], table[f"{name}_histogram"], ".", color=color, label=label.replace("fit to", "histogram of")
        )
        below.step(table["r"], table[f"{name}_frames"], where="mid", color=color)
    above.set(ylabel="w(r), kJ/mol", ylim=(-6, 25))
    above.axhline(0, color="0.8", lw=0.5)
    above.legend()
    below.set(xlabel="Li-Cl distance, nm", ylabel="frames in 0.01 nm", yscale="symlog", ylim=(0, None))
    fig.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", nargs="?", default="runs/umbrella", type=Path)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--frames", type=int, help="of each run; 500 without")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    biased, free, windows = windows_and_equilibrium(given.output, given.frames)
    kT = thermal_energy(biased.temperature)
    alone = np.array([(1.0, 0.0)])
    table, rows = pandas.DataFrame({"r": MIDDLES}), []
    for name, frames, of in (("windows", biased, windows), ("equilibrium", free, alone)):
        counted = np.histogram(distances(frames), EDGES)[0]
        for which, values in curves(frames, of, kT).items():
            column = name + which
            table[column], table[f"{column}_error"] = with_error(values)
            # What a fit says where there is no frame is no barrier.
            found = with_error(np.array([heights(np.where(counted > 0, curve, np.nan)) for curve in values]))
            rows.append((column, len(frames), *np.transpose(found).ravel()))
        table[f"{name}_frames"] = counted
    quantities = ("above_contact", "above_0.6_nm", "contact", "barrier")
    names = [f"{quantity}{error}" for quantity in quantities for error in ("", "_error")]
    summary = pandas.DataFrame(rows, columns=["of", "frames", *names])
    given.results.mkdir(parents=True, exist_ok=True)
    table.to_csv(given.results / "umbrella.csv", index=False, float_format="%.5g")
    summary.to_csv(given.results / "umbrella_summary.csv", index=False, float_format="%.4g")
    figure(table, given.results / "umbrella.png")
    print(summary.to_string(index=False, float_format=lambda value: f"{value:.3g}"))


if __name__ == "__main__":
    main()
