"""Results that say how they were made: what the scripts of this directory share.

    options = parse(__doc__)                        # --quick, --seed, --output
    records = Records(options.output / "01.csv")
    rows = records.part("fit", dict(sigma=0.005, seed=0, frames=1000, steps=0), compute)
    table = records.table()                         # all rows of this call, and of no other settings

A part is one line of work with its own settings.  Its rows go to the CSV as soon as it is
done, each with the hash of the settings, seed, frames, steps and wall time; a later call with
the same settings takes them from there.  Results of changed *code* are not noticed: delete the CSV.
"""

import argparse
import hashlib
import json
import time
from pathlib import Path

import pandas

HERE = Path(__file__).parent
#: Settings that every part must name, and every row carries.
CARRIED = ("seed", "frames", "steps")


def parse(description, arguments=None, frames=None):
    """Options of a script: quick (bool), seed (int) and output (Path, made if it is not there).

    With `frames`, a default Path, the parser takes a file of frames too: options.frames (Path).
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if frames is not None:
        parser.add_argument("frames", nargs="?", type=Path, default=frames, metavar="FRAMES", help=f"default: {frames}")
    parser.add_argument("--quick", action="store_true", help="less data, fewer arms, shorter runs")
    parser.add_argument("--seed", type=int, default=0, help="of data, noise, networks and thermostats")
    parser.add_argument("--output", type=Path, help="directory; default: results/ here, with --quick runs/paper/")
    options = parser.parse_args(arguments)
    if options.output is None:
        options.output = Path("runs/paper") if options.quick else HERE / "results"
    options.output.mkdir(parents=True, exist_ok=True)
    return options


class Records:
    """Rows of a CSV file, part by part.

    Parameters
    ----------
    path : Path
        Read if it exists, written after every part.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.rows = pandas.read_csv(self.path) if self.path.exists() else pandas.DataFrame({"config": []})
        self.asked = []

    def part(self, name, settings, compute):
        """Rows of one part: from the file, or computed now.

        Parameters
        ----------
        name : str
        settings : dict
            All that the rows depend on, as JSON can hold it; "seed", "frames" and "steps" among it.
        compute : callable
            Without arguments; returns a list of dict, one for each row.

        Returns
        -------
        pandas.DataFrame
        """
        missing = [key for key in CARRIED if key not in settings]
        if missing:
            raise ValueError(f"settings of {name} lack {', '.join(missing)}: give them, 0 where there are none")
        text = json.dumps({"part": name, **settings}, sort_keys=True)
        config = hashlib.sha256(text.encode()).hexdigest()[:12]
        self.asked.append(config)
        if (self.rows["config"] == config).any():
            print(f"{name}: kept from {self.path.name}", flush=True)
        else:
            begun = time.perf_counter()
            rows = compute()
            wall = round(time.perf_counter() - begun, 2)
            carried = {key: settings[key] for key in CARRIED}
            new = pandas.DataFrame(
                [{"part": name, **row, "config": config, **carried, "wall / s": wall} for row in rows]
            )
            # The first rows set the order of columns: what says how they were made stays last.
            self.rows = new if self.rows.empty else pandas.concat([self.rows, new], ignore_index=True)
            self._write()
            print(f"{name}: {len(new)} rows in {wall:.1f} s", flush=True)
        return self.rows[self.rows["config"] == config]

    def table(self):
        """All rows asked for; others, of settings that are no longer used, leave the file."""
        self.rows = self.rows[self.rows["config"].isin(self.asked)].reset_index(drop=True)
        self._write()
        return self.rows

    def _write(self):
        last = ["config", *CARRIED, "wall / s"]
        rows = self.rows[[column for column in self.rows if column not in last] + last]
        draft = self.path.with_suffix(".part")
        # Six digits, so that a kept row and a new one differ by less than any error.
        rows.to_csv(draft, index=False, float_format="%.7g")
        draft.replace(self.path)
