"""Results that say how they were made: what the scripts of examples/paper share.

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
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import pandas

#: Of the numbered scripts.
HERE = Path(__file__).parents[1]
#: Settings that every part must name, and every row carries.
CARRIED = ("seed", "frames", "steps")


def parse(description, arguments=None, frames=None):
    """Options of a script: quick (bool), seed (int) and output (Path, made if it is not there).

    With a Path `frames`, the default, there is an argument for a file of frames too.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if frames is not None:
        parser.add_argument("frames", type=Path, nargs="?", default=frames, help=f"npz file; default: {frames.name}")
    parser.add_argument("--quick", action="store_true", help="less data, fewer arms, shorter runs")
    parser.add_argument("--seed", type=int, default=0, help="of data, noise, networks and thermostats")
    parser.add_argument(
        "--output",
        type=Path,
        help="directory; default: results/ here (other seeds: results/seed-N), quick: runs/paper/",
    )
    options = parser.parse_args(arguments)
    if options.output is None:
        options.output = Path("runs/paper") if options.quick else HERE / "results"
        if options.seed:
            options.output /= f"seed-{options.seed}"
    options.output.mkdir(parents=True, exist_ok=True)
    return options


def run(main):
    """A script from the command line: of what it was given and cannot take, one sentence."""
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def tell(claims, path):
    """Print a table of claims and their verdicts, and keep it as a CSV file.

    Parameters
    ----------
    claims : pandas.DataFrame
    path : Path
    """
    claims.to_csv(path, index=False, float_format="%.4g")
    with pandas.option_context("display.width", 250, "display.max_colwidth", 160):
        print(claims.to_string(index=False))


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
        config = self._asked(name, settings)
        if not self._kept(name, config):
            self._add(name, settings, config, *_timed(compute))
        return self.rows[self.rows["config"] == config]

    def parts(self, jobs, workers):
        """Several parts, side by side in processes of their own.

        Parameters
        ----------
        jobs : list of (str, dict, callable)
            Arguments of `part`; the callables must be picklable.
        workers : int
        """
        asked = [(name, settings, self._asked(name, settings), compute) for name, settings, compute in jobs]
        missing = [job for job in asked if not self._kept(job[0], job[2])]
        # A fresh interpreter each: torch's threads do not survive a fork.
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            futures = {pool.submit(_timed, compute): job for *job, compute in missing}
            try:
                for done, future in enumerate(as_completed(futures), start=1):
                    self._add(*futures[future], *future.result())
                    print(f"{done} of {len(missing)} parts done", flush=True)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _asked(self, name, settings):
        """Hash of the settings of a part, noted as asked for."""
        missing = [key for key in CARRIED if key not in settings]
        if missing:
            raise ValueError(f"settings of {name} lack {', '.join(missing)}: give them, 0 where there are none")
        text = json.dumps({"part": name, **settings}, sort_keys=True)
        self.asked.append(hashlib.sha256(text.encode()).hexdigest()[:12])
        return self.asked[-1]

    def _kept(self, name, config):
        kept = (self.rows["config"] == config).any()
        if kept:
            print(f"{name}: kept from {self.path.name}", flush=True)
        return kept

    def _add(self, name, settings, config, rows, wall):
        carried = {key: settings[key] for key in CARRIED}
        new = pandas.DataFrame([{"part": name, **row, "config": config, **carried, "wall / s": wall} for row in rows])
        # The first rows set the order of columns: what says how they were made stays last.
        self.rows = new if self.rows.empty else pandas.concat([self.rows, new], ignore_index=True)
        self._write()
        print(f"{name}: {len(new)} rows in {wall:.1f} s", flush=True)

    def table(self):
        """All rows asked for; others, of settings that are no longer used, leave the file."""
        self.rows = self.rows[self.rows["config"].isin(self.asked)].reset_index(drop=True)
        self._write()
        return self.rows

    def _write(self):
        last = ["config", *CARRIED, "wall / s"]
        rows = self.rows[[column for column in self.rows if column not in last] + last]
        draft = self.path.with_suffix(".part")
        # Seven digits, so that a kept row and a new one differ by less than any error.
        rows.to_csv(draft, index=False, float_format="%.7g")
        draft.replace(self.path)


def _timed(compute):
    """Rows, and seconds they took."""
    begun = time.perf_counter()
    rows = compute()
    return rows, round(time.perf_counter() - begun, 2)
