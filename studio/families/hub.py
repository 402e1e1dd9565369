"""Base models from the Hugging Face Hub: the parts that are needed, once, into the Hub's own cache."""

import os
from pathlib import Path

from studio.errors import MachineError, ModelError
from studio.language import say

PARTS = ("unet", "transformer", "vae", "text_encoder*", "tokenizer*", "scheduler")
WANTED = ["model_index.json", *(f"{part}/{kind}" for part in PARTS for kind in ("*.json", "*.txt", "*.safetensors", "*.model"))]


def download(name: str) -> Path:
    """The local folder of a Hub model. What the cache holds is used without asking the Hub. Raises ModelError or MachineError."""
    os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", "5")
    os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", "15")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        cached = Path(snapshot_download(name, allow_patterns=WANTED, local_files_only=True))
        if (cached / "model_index.json").is_file():
            return cached
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(snapshot_download(name, allow_patterns=WANTED))
    except GatedRepoError:
        raise ModelError(
            say("{name}: its authors ask for consent before it can be downloaded.", name=name),
            say("Agree on the model's page on huggingface.co and set HF_TOKEN."),
        ) from None
    except RepositoryNotFoundError:
        raise ModelError(
            say("{name}: there is no such path here and no such public model on the Hub.", name=name),
            say("Check the spelling; for a private model set HF_TOKEN."),
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError):
        raise MachineError(
            say("{name}: is not in the cache, and the Hub can't be reached.", name=name),
            say("Connect and try again, or give a local path as base_model."),
        ) from None
