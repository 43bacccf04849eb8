"""The tables and texts that runs have left, read with suspicion: also while they are written."""

import io
import math
from pathlib import Path

import pandas

from ... import yamlfile
from ...progress import significant
from ...rundirectory import damaged


def read_table(path, columns, numbers=()):
    """A table of a run; None where there is none.

    The last line of a table that grows may be half a line, and is left out then.

    Parameters
    ----------
    path : Path
    columns : list of str
        That it must have.
    numbers : list of str
        Those of them that hold numbers or nothing.

    Raises
    ------
    ValueError
        For what is no such table.
    """
    try:
        text = Path(path).read_bytes().decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise damaged(path) from error
    whole = text if text.endswith("\n") else text[: text.rfind("\n") + 1]
    try:
        table = pandas.read_csv(io.StringIO(whole))
    except (ValueError, OverflowError, pandas.errors.ParserError) as error:
        if not whole.strip():
            return None  # begun, and nothing in it yet
        raise damaged(path) from error
    lacking = [column for column in columns if column not in table]
    if lacking:
        raise ValueError(
            f"{path} has no column {lacking[0]}: it is damaged or of another program; copy a whole one back"
        )
    for column in numbers:
        table[column] = table[column].replace("--", math.nan)
        try:
            table[column] = pandas.to_numeric(table[column])
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} has words in column {column}: it is damaged; copy a whole one back") from error
    return table


def read_mapping(path, remedy=None):
    """Keys and values of a YAML file of a run; None where there is none."""
    try:
        found = yamlfile.read(path)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise damaged(path, remedy) from error
    if not isinstance(found, dict):
        raise damaged(path, remedy)
    return found


def numeric(mapping, key, default=None):
    """A finite number of a mapping that somebody else may have written; the default for anything else."""
    value = mapping.get(key) if isinstance(mapping, dict) else None
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return value if known else default


def size(number):
    """A number of bytes in words."""
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{significant(number, 3)} {unit}"
        number /= 1000
    return f"{significant(number, 3)} GB"
