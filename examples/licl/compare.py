"""What each learner is worth: pair potential, network, and both, with all training frames and with 500.

    python compare.py OUTPUT

Runs the quickstart once per row, goes on where an earlier
call stopped, and writes comparison.csv: RMSDs of g(r) as in errors.csv, the
Li-Cl contact peak, and the calibration slope.
"""

import subprocess
import sys
from pathlib import Path

import pandas
import yaml

HERE = Path(__file__).parent

# Alone, a network must learn what the splines would: more range, more steps, a looser rein.
ALONE = dict(
    pair=None,
    manybody=None,
    network=dict(cutoff=0.8),
    training=dict(steps=1500, learning_rate=0.005, weight_decay=0.01, ema_decay=0.99, check_every=100, patience=6),
)
LEARNERS = {
    "pair": dict(manybody=None, network=None),
    "network": ALONE,
    "pair + network": dict(manybody=None),
}


def make_batch(changes, limit):
    """licl.yaml with changes; None switches a section off."""
    config = yaml.safe_load((HERE / "licl.yaml").read_text())
    config["data"].update(frames=str((HERE / "licl.npz").resolve()), limit=limit)
    for section, values in changes.items():
        config[section] = None if values is None else {**(config[section] or {}), **values}
    return config


def main():
    output = Path(sys.argv[1])
    rows = []
    for limit in (None, 500):
        for name, changes in LEARNERS.items():
            run = output / f"{name.replace(' + ', '_')}-{limit or 'all'}"
            if not (run / "errors.csv").exists():
                run.parent.mkdir(parents=True, exist_ok=True)
                config = run.with_suffix(".yaml")
                config.write_text(yaml.safe_dump(make_batch(changes, limit), sort_keys=False))
                command = [sys.executable, HERE / "quickstart.py", run, "--config", config]
                subprocess.run([str(part) for part in command], check=True)
            errors = pandas.read_csv(run / "errors.csv").set_index("pair")
            peaks = pandas.read_csv(run / "peaks.csv").set_index(["pair", "curve"])
            summary = pandas.read_csv(run / "summary.csv").set_index("quantity")
            row = {"learner": name, "frames": limit or "all"}
            row.update({f"learning {pair}": errors.loc[pair, "learning"] for pair in errors.index})
            for curve in ("noised", "model"):
                row[f"contact, {curve}"] = peaks.loc[("Li-Cl", curve), "height"]
                row[f"contact, {curve}, error"] = peaks.loc[("Li-Cl", curve), "error"]
            row["calibration"], row["calibration error"] = summary.loc["calibration slope", ["value", "error"]]
            row["force error, kJ/mol/nm"] = summary.loc["force rms error, all", "value"]
            rows.append(row)
            pandas.DataFrame(rows).round(4).to_csv(output / "comparison.csv", index=False)
    print(pandas.DataFrame(rows).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
