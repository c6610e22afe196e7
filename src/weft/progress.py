"""What a person sees while runs are trained: steps, speed, time left, key metrics; plain lines where no terminal is."""

import sys
import time
from typing import Any

__all__ = ["Progress", "Silent"]


class Silent:
    """Shows nothing."""

    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, *_: Any) -> None:
        return None

    def update(self, step: int, metrics: dict[str, float]) -> None:
        """Take note of the step that all runs have reached."""

    def say(self, sentence: str) -> None:
        """Show one sentence."""


class Progress(Silent):
    """A live line on a terminal, otherwise a line every tenth of the way; all on standard error."""

    def __init__(self, title: str, start: int, total: int, runs: int) -> None:
        self.title, self.start, self.total, self.runs = title, start, total, runs
        self.live = sys.stderr.isatty()
        self.told = start

    def __enter__(self) -> "Progress":
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        self.console = Console(stderr=True, highlight=False)
        self.began = time.monotonic()
        if self.live:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[words]}"))
            self.bar = Bar(*columns, console=self.console)
            self.bar.start()
            self.task = self.bar.add_task(self.title, total=self.total, completed=self.start, words="compiling")
        return self

    def __exit__(self, *_: Any) -> None:
        if self.live:
            self.bar.stop()

    def update(self, step: int, metrics: dict[str, float]) -> None:
        elapsed = max(time.monotonic() - self.began, 1e-9)
        speed = (step - self.start) * self.runs / elapsed
        left = (self.total - step) * self.runs / max(speed, 1e-9)
        figures = "  ".join(f"{name} {value:.3g}" for name, value in list(metrics.items())[:4])
        words = f"{step:,}/{self.total:,}  {speed:,.0f} steps/s  {clock(left)} left  {figures}"
        if self.live:
            self.bar.update(self.task, completed=step, words=words)
        elif step >= self.total or step - self.told >= self.total / 10:
            self.told = step
            self.console.print(f"{self.title}  {words}", soft_wrap=True)

    def say(self, sentence: str) -> None:
        self.console.print(sentence, soft_wrap=True)


def clock(seconds: float) -> str:
    """Write a number of seconds as `1 h 02 min`, `3 min 20 s` or `12 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
