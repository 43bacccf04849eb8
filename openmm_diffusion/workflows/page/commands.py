"""How to make everything on a page again: commands, versions, and the files with their checksums."""

import hashlib
import shlex

from ... import yamlfile
from ...evaluation.record import versions
from ...simulation.langevin import SimulationConfig
from .blocks import Commands, Lines, Section, Table, missing
from .learnt import name_of
from .runs import DISTILLATION, EVALUATION, REFINEMENT, SIMULATION, TRAINING
from .tables import size

PROGRAM = "openmm-diffusion"
#: Settings of a simulation that are options of the command, and those that a file alone can give.
OF_A_FILE = ("friction", "composition", "spread_limit")
#: Files of a directory that are listed, and bytes up to which a file has a checksum.
LISTED, LARGEST = 60, 2_000_000_000


def repeated(run):
    """The lines that make a run again, beside it.

    Parameters
    ----------
    run : Run

    Returns
    -------
    list of str
        Commands, and comments that begin with a hash.
    """
    make = {
        TRAINING: _train, SIMULATION: _simulate, EVALUATION: _evaluate, REFINEMENT: _refine, DISTILLATION: _distil,
    }[run.kind]  # fmt: skip
    return make(run, ["--output", f"{run.path}-again"])


def _line(*words):
    return shlex.join([PROGRAM, *map(str, words)])


def _train(run, output):
    data = run.asked["data"] if isinstance(run.asked["data"], dict) else {}
    files = data.get("frames") or data.get("trajectory")
    comment = [] if files else ["# The frames were given beside the configuration: name their file."]
    return [*comment, _line("train", run.path / "config.yaml", *([] if files else ["--frames", "FRAMES"]), *output)]


def _simulate(run, output):
    defaults = SimulationConfig().model_dump(mode="json")
    changed = {key: run.asked[key] for key in defaults if key in run.asked and run.asked[key] != defaults[key]}
    own = {key: changed.pop(key) for key in OF_A_FILE if key in changed}
    words = []
    for key, value in changed.items():
        option = f"--{key.replace('_', '-')}"
        words += [option] if value is True else [option, *(value if isinstance(value, list) else [value])]
    lines = []
    if own:
        text = yamlfile.text(own, default_flow_style=True, width=10_000).strip()
        lines.append(f"echo {shlex.quote(text)} > settings.yaml")
        words += ["--config", "settings.yaml"]
    if run.model_file is None:
        lines.append("# The model was given by a script: name its file.")
    return [*lines, _line("simulate", run.model_file or "MODEL", *words, *output)]


def _evaluate(run, output):
    asked = run.asked
    if not asked.get("frames_file"):
        return ["# What this evaluation was made of was not kept.", _line("evaluate", "MODEL", "FRAMES", *output)]
    told = asked.get("trajectories")
    words = [word for path in (told if isinstance(told, list) else []) for word in ("--trajectory", path)]
    for key, option in (
        ("topology", "--top"),
        ("discard", "--discard"),
        ("interval", "--interval"),
        ("temperature", "--temperature"),
    ):
        words += [] if asked.get(key) is None else [option, asked[key]]
    return [_line("evaluate", asked.get("model_file", "MODEL"), asked["frames_file"], *words, *output)]


def _refine(run, output):
    own = {key: run.asked[key] for key in ("iterations", "weight", "sampling") if key in run.asked}
    text = yamlfile.text(own, default_flow_style=True, width=10_000).strip()
    return [
        f"# The model had the checksum {run.asked.get('model')}, the frames {run.asked.get('frames')}.",
        f"echo {shlex.quote(text)} > settings.yaml",
        _line("refine", "MODEL", "FRAMES", "--config", "settings.yaml", *output),
    ]


def _distil(run, output):
    return ["# What was distilled was not kept.", _line("distil", "MODEL", "FRAMES", *output)]


def repeat_section(runs):
    """Commands to repeat every run, in the order in which one needs the other, and versions."""
    order = (TRAINING, REFINEMENT, DISTILLATION, SIMULATION, EVALUATION)
    lines = [line for run in sorted(runs.runs, key=lambda run: order.index(run.kind)) for line in repeated(run)]
    told = Lines(["From the settings that the runs have kept; each writes beside the first, which stays as it is."])
    table = {"this page": versions()}
    table |= {f"model {name_of(model)}": model.denoiser.header.versions for model in runs.models}
    kept = {f"evaluation {run.path}": run.asked.get("versions") for run in runs.of(EVALUATION)}
    table |= {who: of for who, of in kept.items() if isinstance(of, dict)}
    names = list(dict.fromkeys(name for of in table.values() for name in of))
    rows = [[who, *(of.get(name, "-") for name in names)] for who, of in table.items()]
    return Section(
        "repeat",
        "Versions, and commands to repeat it",
        [told, Commands(lines), Table("Versions.", ["of", *names], rows, numbers=False)],
    )


def files_section(runs, written=()):
    """Files of every run with size and checksum.

    Parameters
    ----------
    runs : Runs
    written : list of Path
        Files and folders of the page itself, which are left out.
    """
    blocks = []
    for run in runs.runs:
        if any(run.path == other.path for other in runs.runs[: runs.runs.index(run)]):
            continue
        kept = [path for path in sorted(run.path.rglob("*")) if path.is_file() and not path.name.startswith(".")]
        kept = [path for path in kept if not any(path == own or own in path.parents for own in written)]
        rows = [[str(path.relative_to(run.path)), *_summed(path)] for path in kept[:LISTED]]
        blocks.append(Table(f"Files in {run.path}.", ["file", "size", "SHA-256"], rows, numbers=False))
        if len(kept) > LISTED:
            blocks.append(missing(f"{len(kept) - LISTED} files more are not listed."))
    shipped = [[name_of(model), *_summed(model.path)] for model in runs.models if model.shipped]
    if shipped:
        blocks.append(Table("Shipped models.", ["model", "size", "SHA-256"], shipped, numbers=False))
    return Section("files", "Files and their checksums", blocks)


def _summed(path):
    try:
        number = path.stat().st_size
        if number > LARGEST:
            return size(number), "not computed: more than 2 GB"
        with open(path, "rb") as file:
            return size(number), hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:  # of a run that is at work
        return "-", f"cannot be read: {error.strerror}"
