"""A page in a real browser, without a network: what it drew, what it complained about, and a picture of it."""

import dataclasses
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs the program chromium on the PATH")

VOID = {"meta", "link", "br", "hr", "img", "input"}

FRAME = """<!doctype html><title>frame</title><body style="margin:0">
<iframe src="{page}" style="width:{width}px;height:{height}px;border:0"></iframe>
<script>
const frame = document.querySelector("iframe");
function look() {{
  const page = frame.contentDocument;
  if (!page || !page.body || !page.body.dataset.drawn) return setTimeout(look, 100);
  const plots = [...page.querySelectorAll(".plot")].map((plot) => {{
    const box = plot.getBoundingClientRect(), drawing = plot.querySelector(".main-svg");
    const paths = [...plot.querySelectorAll(".main-svg .trace path, .main-svg .trace text")];
    return {{
      name: plot.id, left: box.left, right: box.right, height: box.height, drawn: drawing !== null,
      width: drawing ? drawing.getBoundingClientRect().width : 0,
      paths: paths.filter((path) => path.tagName === "text" || (path.getAttribute("d") || "").length > 4).length,
    }};
  }});
  const seen = {{ plots, width: page.documentElement.clientWidth, content: page.documentElement.scrollWidth }};
  document.body.dataset.seen = JSON.stringify(seen);
}}
look();
</script>"""


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a browser made of a page: `dom` afterwards, `console` lines, and the `picture` (a PNG file)."""

    dom: str
    console: list[str]
    picture: Path


def visit(page: Path, folder: Path, width: int = 1200, height: int = 2000) -> Seen:
    """Open a file with headless Chromium and return what came of it."""
    assert CHROMIUM is not None
    picture = folder / f"{page.stem}.png"
    found = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--allow-file-access-from-files", "--hide-scrollbars",
         "--enable-logging=stderr", "--v=0", f"--user-data-dir={folder / 'profile'}", f"--window-size={width},{height}",
         "--virtual-time-budget=10000", "--dump-dom", f"--screenshot={picture}", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return Seen(found.stdout, [line for line in found.stderr.splitlines() if ":CONSOLE" in line], picture)


def visit_framed(page: Path, folder: Path, width: int, height: int) -> Seen:
    """Open a page in a frame of any width (a window has at least 500 pixels); the frame measures its plots."""
    frame = folder / f"frame-{width}.html"
    frame.write_text(FRAME.format(page=page.name, width=width, height=height))
    assert page.parent == folder
    return visit(frame, folder, max(width, 500), height)


class WellFormed(HTMLParser):
    """Reads a page: `problems` are tags that do not match, `headings` their levels, `links` what it refers to."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.problems: list[str] = []
        self.headings: list[int] = []
        self.links: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append((tag, found))
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action", "data", "poster")]
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        """What a reader reads, spaces made one."""
        return " ".join(" ".join(self.words).split())


def read(html: str) -> WellFormed:
    """Parse a page; whatever is left open is a problem, too."""
    parser = WellFormed()
    parser.feed(html)
    parser.close()
    parser.problems += [f"<{tag}> is never closed" for tag in parser.open]
    return parser
