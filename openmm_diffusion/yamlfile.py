"""YAML files, whoever wrote them: read with suspicion, and written so that they can be read so."""

from pathlib import Path

import yaml

#: Levels of the deepest configuration: ours have five.
DEEPEST = 50
#: Bytes of the longest configuration file that is read: more is something else.
LONGEST = 1_000_000


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice, of which YAML keeps the last, and names that stand for others.

    A few lines of such names are gigabytes when they are written out.
    """

    depth = 0

    def compose_node(self, parent, index):
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "a name that stands for other lines: write them out", mark)
        self.depth += 1
        if self.depth > DEEPEST:
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "brackets within brackets without end", mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if not isinstance(name, (str, int, float)):
                raise yaml.constructor.ConstructorError(None, None, "a key that is no name", key.start_mark)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name} twice: keep one", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Safe YAML that writes a list out wherever it stands: `_Loader` reads no names that stand for others."""

    def ignore_aliases(self, data):
        return True


def read(path):
    """What a YAML file says, whoever wrote it.

    Raises
    ------
    FileNotFoundError
        Where there is none.
    ValueError
        For what is no YAML, or longer, deeper or more devious than a configuration can be; it names file and line.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LONGEST:
            raise ValueError(f"{path} has {path.stat().st_size} bytes: a configuration has at most {LONGEST}")
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - it is a SafeLoader
    except yaml.MarkedYAMLError as error:
        where = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise ValueError(f"{path} is not valid YAML{where}: {error.problem}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())[:200]}") from error
    except RecursionError as error:
        raise ValueError(f"{path} is not valid YAML: brackets within brackets without end") from error


def text(values, **layout):
    """Values as YAML text that `read` reads back.

    Parameters
    ----------
    values : dict
        Of text, numbers, lists and dicts.
    **layout
        Of `yaml.dump`, such as `width`.

    Raises
    ------
    ValueError
        For more than `read` takes.
    """
    found = yaml.dump(values, Dumper=_Dumper, **{"sort_keys": False, "allow_unicode": True, **layout})
    size = len(found.encode())
    if size > LONGEST:
        raise ValueError(f"the settings have {size} bytes, and only {LONGEST} can be read again: name fewer files")
    return found
