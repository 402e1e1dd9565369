"""The seam between the studio and a kind of model: six verbs, and the bundle of parts that they work on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias

from studio.config import Config
from studio.device import opening
from studio.formats.names import Names

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor

    Row: TypeAlias = dict[str, Tensor]
    Batch: TypeAlias = dict[str, Tensor]
else:
    Row = Batch = dict


@dataclass(frozen=True)
class Prompt:
    """What to draw. `strengths` has one number per LoRA that is attached; `width` and `height` are pixels, 0: the model's
    own, as are `steps` and `guidance` where they are None."""

    text: str
    seed: int = 0
    strengths: tuple[float, ...] = ()
    negative: str = ""
    steps: int | None = None
    guidance: float | None = None
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Picture:
    """A picture to encode: how to read it, a name for its content and cut, so that its row can be kept, and its width and height; also those
    that it had at first, and where the left upper corner of the cut lay when it was scaled."""

    read: Callable[[], "Image"]
    content: str
    size: tuple[int, int]
    original: tuple[int, int] | None = None
    corner: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Piece:
    """One thing that was made: the picture of prompt number `index`, or `done` of `total` steps of the batch that holds it."""

    index: int
    image: "Image | None" = None
    done: int = 0
    total: int = 0


@dataclass
class Bundle:
    """A base model in parts. Each part opens at first use and can be let go again.

    `loaders` opens a part and `identities` hashes its weights. `trainable` are the parts that take LoRA, the one that draws first; their names
    are the prefixes in exported files. `encoders` are those that texts go through. `facts` is what the model's files say of it: resolution,
    prediction type, title. `blend` takes the strengths of each row of a batch, `adapted` are the parts with LoRA on them; whoever attaches LoRA
    sets both. `remembered` are texts that were encoded to be drawn.
    """

    source: Path
    device: "torch.device"
    dtype: "torch.dtype"
    loaders: Mapping[str, Callable[[], Any]]
    identities: Mapping[str, Callable[[], str]]
    trainable: tuple[str, ...]
    encoders: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    blend: Callable[[Sequence[tuple[float, ...]]], object] = tuple
    adapted: set[str] = field(default_factory=set)
    remembered: dict[str, Row] = field(default_factory=dict)
    _open: dict[str, Any] = field(default_factory=dict)
    _known: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, part: str) -> Any:
        if part not in self._open:
            with opening:
                self._open[part] = self.loaders[part]()
        return self._open[part]

    @property
    def opened(self) -> frozenset[str]:
        """The parts that are in memory."""
        return frozenset(self._open)

    def release(self, *parts: str) -> bool:
        """Let parts go; they open again at their next use. Whether any of them was open."""
        were_open = [self._open.pop(part, None) is not None for part in parts]
        return any(were_open)

    def identity(self, part: str) -> str:
        """A hash of the part's weights, without opening it."""
        if part not in self._known:
            self._known[part] = self.identities[part]()
        return self._known[part]


class Family(Protocol):
    """One kind of model. Stateless: everything is in the bundle."""

    name: ClassVar[str]
    title: ClassVar[str]
    task: ClassVar[Literal["image-generation", "text-generation"]]
    defaults: ClassVar[dict[str, Any]]
    settings: ClassVar[frozenset[str]]
    names: ClassVar[Names]

    def load(self, source: Path, device: "torch.device", dtype: "torch.dtype", load_in: str = "16bit") -> Bundle:
        """The base model at `source`, nothing of it opened yet; `load_in` 8bit or 4bit is about the part that draws. Raises ModelError."""

    def targets(self, bundle: Bundle, config: Config) -> list[str]:
        """The layers that take LoRA, as `part.path.of.layer`."""

    def encode(self, bundle: Bundle, kind: Literal["picture", "text", "tokens"], items: "Sequence[Picture | str]") -> list[Row]:
        """One row per item, on the CPU. What is slow here is kept on disk by the caller."""

    def collate(self, rows: Sequence[Row], config: Config) -> Batch:
        """Rows of one shape as a batch on the CPU; `count` [B] is how much each example weighs in the mean."""

    def draw(self, bundle: Bundle, batch: Batch, rng: "torch.Generator", config: Config, at: float | None = None) -> Batch:
        """The batch with every random number of a step in it. `at` in 0..1 fixes the timestep, for validation."""

    def loss(self, bundle: Bundle, batch: Batch) -> "Tensor":
        """Loss per example, [B]: pure, no randomness, no host read, static shapes."""

    def sample(self, bundle: Bundle, prompts: Sequence[Prompt]) -> Iterator[Piece]:
        """What the model makes of the prompts, as it comes."""
