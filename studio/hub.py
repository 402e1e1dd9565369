"""Models and datasets from the Hugging Face Hub: the files that are needed, once, into the Hub's own cache."""

import os
from pathlib import Path
from typing import NamedTuple

from studio.errors import MachineError, ModelError
from studio.language import say

PARTS = ("unet", "transformer", "vae", "text_encoder*", "tokenizer*", "scheduler")


class Wanted(NamedTuple):
    """Which files of a repository are needed, and the one without which a copy of it isn't whole."""

    patterns: tuple[str, ...]
    proof: str
    kind: str = "model"


PIPELINE = Wanted(
    ("model_index.json", *(f"{part}/{kind}" for part in PARTS for kind in ("*.json", "*.txt", "*.safetensors", "*.model", "*.jinja"))),
    "model_index.json",
)


def cached(name: str, wanted: Wanted) -> Path | None:
    """The local folder of what was downloaded earlier."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = Path(snapshot_download(name, repo_type=wanted.kind, allow_patterns=list(wanted.patterns), local_files_only=True))
    except (LocalEntryNotFoundError, ValueError):
        return None
    return found if any(found.glob(wanted.proof)) else None


def download(name: str, wanted: Wanted, setting: str) -> Path:
    """The local folder of a repository. What the cache holds is used without asking the Hub. Raises ModelError or MachineError, which name
    the `setting` that a local path can be given as."""
    os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", "5")
    os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", "15")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    if found := cached(name, wanted):
        return found
    try:
        return Path(snapshot_download(name, repo_type=wanted.kind, allow_patterns=list(wanted.patterns)))
    except GatedRepoError:
        raise ModelError(
            say("{name}: its authors ask for consent before it can be downloaded.", name=name),
            say("Agree on the model's page on huggingface.co and set HF_TOKEN."),
        ) from None
    except RepositoryNotFoundError:
        raise ModelError(
            say("{name}: there is no such path here and no such public model on the Hub.", name=name)
            if wanted.kind == "model"
            else say("{name}: there is no such public dataset on the Hub.", name=name),
            say("Check the spelling; for a private model set HF_TOKEN."),
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError):
        raise MachineError(
            say("{name}: is not in the cache, and the Hub can't be reached.", name=name),
            say("Connect and try again, or give a local path as {setting}.", setting=setting),
        ) from None
