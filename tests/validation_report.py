"""What a section of the validation page is made of."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Verdict:
    """A number of the run beside its target."""

    what: str
    value: float
    target: float
    at_least: bool = False
    """The value must reach the target rather than stay within it."""

    @property
    def met(self) -> bool:
        """Whether the target is met; a number that is not finite never meets one."""
        return self.value >= self.target if self.at_least else self.value <= self.target

    def row(self) -> tuple[str, str, str, str]:
        """What, value, target, met or not."""
        sign = "≥" if self.at_least else "≤"
        return self.what, f"{self.value:.3g}", f"{sign} {self.target:g}", "met" if self.met else "**not met**"


@dataclass
class Section:
    """What one comparison found; `parts` are paragraphs and tables in Markdown."""

    parts: list[str]
    verdicts: list[Verdict] = field(default_factory=list)


@dataclass(frozen=True)
class Run:
    """Where a run puts its figures, and whether it is a short one."""

    figures: Path
    quick: bool = False

    def pick(self, full: int, quick: int) -> int:
        """Return how many samples to take."""
        return quick if self.quick else full

    @contextmanager
    def figure(self, name: str, columns: int = 1, **settings: Any) -> Iterator[Any]:
        """Give axes to draw on; they are saved as `validation-NAME.png`."""
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot as plt

        figure, axes = plt.subplots(1, columns, figsize=(5.2 * columns, 3.6), layout="constrained", **settings)
        try:
            yield axes
            self.figures.mkdir(parents=True, exist_ok=True)
            # Without the version of the library, the same picture is the same file.
            figure.savefig(self.figures / f"validation-{name}.png", dpi=110, metadata={"Software": None})
        finally:
            plt.close(figure)


def picture(name: str, caption: str) -> str:
    """Markdown of a figure."""
    return f"![{caption}](figures/validation-{name}.png)"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Markdown table; floats that should look otherwise come as text."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)
