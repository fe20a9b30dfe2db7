"""Files of the Hugging Face hub: from its local cache, else downloaded; no long wait where there is no network."""

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from dferc.core.errors import InputError


def fetch(repository: str, revision: str, name: str) -> Path:
    """Return the path in the hub's cache of a file of one commit, which is downloaded if it is not there yet.

    Raises:
        InputError: it is not in the cache and the hub cannot be asked, or does not give it.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(repository, name, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    missing = f"{name} of {repository} on the hub"
    remedy = f"Where there is internet, run `hf download {repository} {name} --revision {revision}` for this cache."
    if fault := unreachable():  # the hub's client tries for half a minute
        raise InputError(f"{missing} is not in the local cache, and {fault}. {remedy}")
    try:
        return Path(hf_hub_download(repository, name, revision=revision))
    except Exception as error:  # of the network, the hub, a proxy or the disk
        reason = f"{type(error).__name__}: {' '.join(str(error).strip().splitlines()[:1])}"
        raise InputError(f"{missing} is not in the local cache, and cannot be fetched ({reason}). {remedy}") from error


def unreachable() -> str:
    """Return why the hub cannot be asked, or an empty text."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE forbids to ask the hub"
    address = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")):
        return ""  # a proxy answers for the hub
    try:
        with socket.create_connection((address.hostname, address.port or 443), timeout=5):
            return ""
    except OSError as error:
        return f"{address.hostname} does not answer ({error})"
