"""The directive `commands`: every command with its arguments and options, as the program itself has them."""

import typer
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from openmm_diffusion.cli import app as program

NAME = "openmm-diffusion"
#: Options of every command, of which the page itself tells.
EVERYWHERE = ("help", "quiet", "verbose")


def usage(name, command):
    """One line: the command, what it needs, and that it takes options."""
    needed = [p.name.upper() + ("..." if p.nargs == -1 else "") for p in command.params if _positional(p)]
    return " ".join([NAME, name, *needed, "[OPTIONS]"])


def _positional(parameter):
    return parameter.param_type_name == "argument"


def _entry(parameter):
    """Term and definition of one argument or option."""
    names = [parameter.name.upper()] if _positional(parameter) else parameter.opts
    term = nodes.term()
    for number, name in enumerate(names):
        term += [nodes.Text(", ")] if number else []
        term += nodes.literal(name, name)
    text = (getattr(parameter, "help", None) or "").strip()
    default = parameter.default
    if isinstance(getattr(parameter, "show_default", None), str):  # what is so in the end where nobody says
        text += f" (default {parameter.show_default})"
    elif default not in (None, False, ()) and not callable(default) and not parameter.required:
        text += f" (default {default})"
    text += " Required." if parameter.required and not _positional(parameter) else ""
    return nodes.definition_list_item("", term, nodes.definition("", nodes.paragraph(text=text.strip())))


class Commands(SphinxDirective):
    """One section for each command."""

    def run(self):
        sections = []
        for name, command in typer.main.get_command(program).commands.items():
            section = nodes.section(ids=[f"command-{name}"], names=[name])
            section += nodes.title(text=name)
            section += nodes.paragraph(text=(command.help or "").strip())
            section += nodes.literal_block(text=usage(name, command), language="none")
            entries = [_entry(p) for p in command.params if p.name not in EVERYWHERE]
            section += nodes.definition_list("", *entries)
            section += nodes.literal_block(text=command.epilog.removeprefix("Example: "), language="none")
            sections.append(section)
        return sections


def setup(app):
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True, "version": "1"}
