"""Counts what torch is asked to do."""

from collections import Counter as Tally
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

HOST_READS = frozenset({"aten._local_scalar_dense", "aten.nonzero", "aten.equal", "aten.is_nonzero", "aten.item"})
VIEWS = "views"


class Counter(TorchDispatchMode):
    """Operations by name, forward, backward and optimizer; what only looks at a tensor in another way is summed up as views."""

    def __init__(self) -> None:
        super().__init__()
        self.tally: Tally[str] = Tally()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.tally[VIEWS if func.is_view else str(func._schema.name).replace("::", ".")] += 1
        return func(*args, **(kwargs or {}))

    def take(self) -> dict[str, int]:
        """The counts since the last time."""
        taken, self.tally = dict(self.tally), Tally()
        return taken
