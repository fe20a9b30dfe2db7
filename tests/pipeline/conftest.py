"""What tests of stage 1 share."""

import pytest


@pytest.fixture
def offline(monkeypatch) -> None:
    """Let no test ask the hub; huggingface_hub reads the variable at import, so its constant is set."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
