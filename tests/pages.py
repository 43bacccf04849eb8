"""Pages of HTML, as tests read them."""

import html.parser

#: Elements that have no end.
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(html.parser.HTMLParser):
    """A page, read strictly: what opens must close, in order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.faults, self.elements, self.text, self.tables = [], [], [], [], []
        self.feed(text)
        self.close()
        self.faults += [f"{name} does not end" for name in self.open]

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if len(dict(attributes)) < len(attributes):
            self.faults.append(f"{name} has an attribute twice")
        if name not in VOID:
            self.open.append(name)
        if name == "table":
            self.tables.append([])
        if name == "tr":
            self.tables[-1].append([])
        if name in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, name):
        if not self.open or self.open.pop() != name:
            self.faults.append(f"{name} ends where it did not begin")

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data

    @property
    def words(self):
        """All text, in one line."""
        return " ".join("".join(self.text).split())

    def all(self, name):
        return [attributes for element, attributes in self.elements if element == name]

    def table(self, *columns):
        """The first table whose head begins with these columns, a dict by the first cell of each row."""
        found = next(table for table in self.tables if table[0][: len(columns)] == list(columns))
        return {row[0]: dict(zip(found[0][1:], row[1:])) for row in found[1:]}


def page_of(path):
    return Page(path.read_text(encoding="utf-8"))
