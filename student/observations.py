"""What a student makes of its teachers, averaged over the batches of an epoch. K teachers."""

from collections.abc import Sequence

from torch import Tensor

from student.targets import Diagnostics

NAMES = ("weight", "share", "confidence", "affinity")  # w, its re-weighted share, rho, pi


class Observations:
    """Running means of each teacher's w, share, rho and pi, kept on the device until asked for."""

    def __init__(self, teachers: Sequence[str]) -> None:
        self.teachers = tuple(teachers)
        self._seen: dict[str, list[Tensor]] = {}

    def add(self, diagnostics: Diagnostics) -> None:
        """Add a batch's means."""
        for name, value_K in zip(NAMES, diagnostics, strict=True):
            if value_K is not None:
                self._seen.setdefault(name, []).append(value_K)

    def take(self) -> dict[str, float]:
        """Return the means over the batches added since the last call, as `<name>/<teacher>`."""
        means = {
            f"{name}/{teacher}": sum(column) / len(column)
            for name, seen in self._seen.items()
            for teacher, *column in zip(
                self.teachers, *(value_K.tolist() for value_K in seen), strict=True
            )
        }
        self._seen = {}
        return means
