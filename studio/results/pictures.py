"""Many pictures of some prompts, each a file in a folder with its caption beside it: class pictures for prior_data_dir, for example."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from studio.errors import InputError
from studio.files import write_atomically
from studio.language import say
from studio.results.generate import Look, LoraChoice, Request, draw, tags


def fill(
    folder: Path, base_model: str, loras: Sequence[LoraChoice], prompts: Sequence[str], count: int, seed: int, look: Look
) -> Iterator[tuple[int, int]]:
    """Draw `count` pictures of each prompt into `folder`, with the seeds from `seed` on; yields how many of all are there.

    What an earlier call has drawn stays and isn't drawn again. Raises InputError when `folder` is a file or `count` below 1, OSError when the
    disk refuses; a picture is there whole or not at all.
    """
    if folder.suffix.lower() == ".png" or folder.is_file():
        raise InputError(say("--count: the pictures go into a folder, and {path} is a file.", path=folder), say("Give a folder as --output."))
    if count < 1:
        raise InputError(say("--count: must be at least 1 (got {count}).", count=count))
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [(f"{number:02d}-{seed + one:06d}.png", text, seed + one) for one in range(count) for number, text in enumerate(prompts)]
    missing = [picture for picture in wanted if not (folder / picture[0]).exists()]
    done = len(wanted) - len(missing)
    yield done, len(wanted)
    if not missing:
        return
    for piece in draw(base_model, loras, [Request(text, seed=number) for _, text, number in missing], look):
        if piece.image is not None:
            name, text, _ = missing[piece.index]
            write_atomically((folder / name).with_suffix(".txt"), tags(text)[0] + "\n", durable=False)
            write_atomically(folder / name, partial(piece.image.save, format="PNG"), durable=False)
            done += 1
            yield done, len(wanted)
