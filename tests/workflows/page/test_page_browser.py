"""The page in a browser, Chromium without a window: nothing goes wrong, nothing is asked for, and it can be printed."""

import http.server
import json
import re
import shutil
import subprocess
import threading

import numpy as np
import pytest
from matplotlib.image import imread

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: the page was not seen by a browser"),
]
#: A browser that does nothing on its own account, and finds no machine but this one.
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-default-apps", "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--enable-logging=stderr",
)  # fmt: skip


def browse(page, folder, *flags):
    """Open a file: what the console and the page's own requests say.

    Returns
    -------
    console : list of str
        Errors, warnings and words of scripts.
    requests : list of str
        Addresses that the page, not the browser for itself, has asked for.
    output : str
    """
    log = folder / "net.json"
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", *flags, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(folder / "profile", ignore_errors=True)
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    requests = [of["url"] for of in events if "url" in of and of.get("initiator", "not an origin") != "not an origin"]
    return re.findall(r":CONSOLE[^\]]*\] (.*)", done.stderr), requests, done.stdout


def test_nothing_goes_wrong_and_nothing_is_asked_for(written, tmp_path):
    console, requests, dom = browse(written, tmp_path, "--dump-dom")
    assert console == [] and requests == []
    assert dom.count("<section ") == 10 and dom.rstrip().endswith("</html>")


def test_a_page_that_would_do_either_is_found_out(written, tmp_path):
    """The same page with a script and a picture from elsewhere: the policy of the page stops both, and says so."""
    asked = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802 - the library's name
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        there = f"http://127.0.0.1:{server.server_port}"
        more = f"<img src='{there}/seen.png'><script>console.error('script')</script></body>"
        text = written.read_text()
        guarded, bare = tmp_path / "guarded.html", tmp_path / "bare.html"
        guarded.write_text(text.replace("</body>", more))
        bare.write_text(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text).replace("</body>", more))
        console, requests, _ = browse(guarded, tmp_path, "--dump-dom")
        assert requests == [] and asked == [] and len(console) >= 2
        assert all("Content Security Policy" in line for line in console)
        console, requests, _ = browse(bare, tmp_path, "--dump-dom")
        server.shutdown()
    assert requests == [f"{there}/seen.png"] and asked == ["/seen.png"] and any('"script"' in line for line in console)


def test_it_is_printed_on_a_few_pages(written, tmp_path):
    console, requests, _ = browse(
        written, tmp_path, f"--print-to-pdf={tmp_path / 'page.pdf'}", "--no-pdf-header-footer"
    )
    content = (tmp_path / "page.pdf").read_bytes()
    assert console == [] and requests == [] and content.startswith(b"%PDF-")
    assert 4 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 16


@pytest.mark.parametrize("scheme, light", [("", True), ("--force-dark-mode", False)])
def test_it_is_light_or_dark_as_the_reader_has_it(written, tmp_path, scheme, light):
    """Paper and ink are far from each other in brightness; nothing is wider than the window."""
    shot = tmp_path / "shot.png"
    flags = [f"--screenshot={shot}", "--window-size=700,500"]
    flags += [scheme, "--blink-settings=preferredColorScheme=0"] if scheme else []
    browse(written, tmp_path, *flags)
    image = 255 * imread(shot)[:, :, :3].mean(-1)
    paper = np.median(image)
    assert (paper > 240) if light else (paper < 50)
    assert abs(np.quantile(image, 0.002 if light else 0.998) - paper) > 150, "letters can be read"
    assert np.ptp(image[:, -8:]) < 8, "the margin is free"
