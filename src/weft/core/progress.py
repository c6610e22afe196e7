"""What a person sees while runs are trained: steps, speed, time left, key metrics; plain lines where no terminal is."""

import logging
import sys
import time
from typing import Any

__all__ = ["Progress", "Silent", "screen_of"]


class Silent:
    """Shows nothing but warnings."""

    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, *_: Any) -> None:
        return None

    def begin(self, title: str, start: int, total: int, runs: int) -> None:
        """Begin with some runs that are trained together, from step `start` on."""

    def update(self, step: int, metrics: dict[str, float]) -> None:
        """Take note of the step that these runs have reached."""

    def say(self, sentence: str) -> None:
        """Show one sentence."""

    def warn(self, sentence: str) -> None:
        """Show one sentence that nobody should miss: on standard error even where nothing else is shown."""
        logging.getLogger("weft").warning("%s", sentence)


class Progress(Silent):
    """A live line on a terminal, otherwise a line every tenth of the way; all on standard error.

    Speed counts the steps of all runs together and leaves out the first chunk, which contains the compilation.
    """

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False)
        self.live = sys.stderr.isatty()

    def __enter__(self) -> "Progress":
        if self.live:
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[words]}"))
            self.bar = Bar(*columns, console=self.console)
            self.bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.live:
            self.bar.stop()

    def begin(self, title: str, start: int, total: int, runs: int) -> None:
        self.title, self.total, self.runs = title, total, runs
        self.told = start
        self.origin = (start, time.monotonic())
        self.chunks = 0
        if self.live:
            self.task = self.bar.add_task(title, total=total, completed=start, words="compiling")

    def update(self, step: int, metrics: dict[str, float]) -> None:
        now = time.monotonic()
        from_step, from_time = self.origin
        speed = (step - from_step) * self.runs / max(now - from_time, 1e-9)
        self.chunks += 1
        if self.chunks == 1:
            self.origin = (step, now)
        left = (self.total - step) * self.runs / max(speed, 1e-9)
        figures = "  ".join(f"{name} {value:.3g}" for name, value in list(metrics.items())[:4])
        words = f"{step:,}/{self.total:,}  {speed:,.0f} steps/s  {clock(left)} left  {figures}"
        if self.live:
            self.bar.update(self.task, completed=step, words=words)
        elif step >= self.total or step - self.told >= self.total / 10:
            self.told = step
            self.console.print(f"{self.title}  {words}", soft_wrap=True, markup=False)

    def say(self, sentence: str) -> None:
        self.console.print(sentence, soft_wrap=True, markup=False)

    def warn(self, sentence: str) -> None:
        self.console.print(sentence, style="bold yellow", soft_wrap=True, markup=False)


def screen_of(progress: bool | None) -> Silent:
    """Return what shows progress, or nothing; None asks for it where somebody looks: in a terminal or a notebook."""
    if progress is None:
        progress = sys.stderr is not None and (sys.stderr.isatty() or _in_notebook())
    return Progress() if progress else Silent()


def _in_notebook() -> bool:
    """Say whether a notebook's kernel runs this."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def clock(seconds: float) -> str:
    """Write a number of seconds as `1 h 02 min`, `3 min 20 s` or `12 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
