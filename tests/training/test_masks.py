"""Masks go with their pictures, and what they hide teaches nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw

from studio.data.buckets import fit
from studio.data.masks import Mask
from studio.families import diffusion
from studio.pocket import SAMPLES
from studio.training.masks import View
from tests.training.test_trainer import events, gradients, ready, same


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures, the left half of each masked, and the same with other pixels where nothing is learned."""
    folder = tmp_path_factory.mktemp("masked")
    lines = ["file_name,text"]
    (folder / "masks").mkdir()
    for path in sorted((SAMPLES / "gameboy").glob("*.png"))[:4]:
        with Image.open(path) as opened:
            opened.convert("RGB").resize((64, 64)).save(folder / path.name)
        half_white((128, 128), (64, 0, 127, 127)).save(folder / "masks" / path.name)
        lines.append(f"{path.name},{path.stem}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def half_white(size: tuple[int, int], white: tuple[int, int, int, int]) -> Image.Image:
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).rectangle(white, fill=255)
    return mask


def mask_file(folder: Path, size: tuple[int, int], white: tuple[int, int, int, int]) -> Mask:
    path = folder / "mask.png"
    half_white(size, white).save(path)
    return Mask(path, "content")


def test_a_mask_is_cropped_mirrored_and_averaged_as_its_picture(tmp_path: Path):
    crop = fit((128, 64), (64, 64))
    mask = mask_file(tmp_path, (128, 64), (32, 0, 51, 63))  # white from the crop's left edge to its pixel 20
    seen, mirrored = View(mask, crop, False).weights(8), View(mask, crop, True).weights(8)
    assert seen.shape == (1, 8, 8)
    assert seen[0, 0].tolist() == [1, 1, 0.5, 0, 0, 0, 0, 0]
    assert torch.equal(mirrored, seen.flip(2))
    assert View(None, crop, False).weights(8).tolist() == torch.ones(1, 8, 8).tolist()


def test_what_is_masked_gets_no_gradient():
    said = torch.randn(2, 4, 8, 8, requires_grad=True)
    mask = torch.ones(2, 1, 8, 8)
    mask[:, :, :, :3], mask[:, :, :, 3] = 0, 0.5
    batch = {"target": torch.randn(2, 4, 8, 8), "weight": torch.tensor([1.0, 3.0])}
    diffusion.mean_square(said, batch | {"mask": mask}).sum().backward()
    masked, said.grad = said.grad, None
    diffusion.mean_square(said, batch).sum().backward()
    assert not masked[..., :3].any()
    assert torch.equal(masked[..., 3], said.grad[..., 3] / 2)
    assert torch.equal(masked[..., 4:], said.grad[..., 4:])


def targets_changed(trainer: Any, columns: slice) -> list[torch.Tensor]:
    """The gradients of the first step, with what the model is to say changed in these columns of the latents."""
    draw = trainer.family.draw

    class Other:
        def __getattr__(self, name: str) -> Any:
            return getattr(family, name)

        def draw(self, *given: Any) -> Any:
            batch = draw(*given)
            batch["target"][..., columns] += 5
            return batch

    family, trainer.family = trainer.family, Other()
    return gradients(trainer)


def test_the_adapter_learns_nothing_from_what_is_masked(pictures: Path, tmp_path: Path):
    def made(**settings: Any) -> Any:
        return ready(pictures, tmp_path / "rows", tmp_path, held=0, enable_bucket=False, masked_loss=True, **settings)

    plain = gradients(made(unmasked_weight=0.0))
    hidden, seen, floor = (
        targets_changed(made(unmasked_weight=weight), columns) for weight, columns in ((0.0, slice(0, 7)), (0.0, slice(9, 16)), (0.1, slice(0, 7)))
    )
    assert any(tensor.any() for tensor in plain)
    assert all(torch.equal(one, other) for one, other in zip(plain, hidden, strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(plain, seen, strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(gradients(made()), floor, strict=True))


def test_it_trains_with_masks_and_resumes_exactly(pictures: Path, tmp_path: Path):
    def made() -> Any:
        return ready(pictures, tmp_path / "rows", tmp_path, masked_loss=True, random_flip=True)

    whole, half = made(), made()
    assert whole.data.held_out_row(0)["mask"].shape == (1, 16, 16)
    assert events(whole)
    half.restore(tmp_path / "checkpoints" / "step-000002")
    events(half)
    assert same(whole, half)
