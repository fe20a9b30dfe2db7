"""Whether a text encoder knows the language of a transcript."""

from collections.abc import Iterable


def language_note(language: str, texts: Iterable[str], encoder: str) -> str:
    """Return a warning where the encoder does not know the language, or the script of the texts; "" where it does.

    Args:
        language: code such as `en`; "" = unknown, so that only the script is compared.
        texts: texts of the utterances.
        encoder: name or path of the encoder that was fine-tuned: `finetune_text.encoder` of its settings.
    """
    raise NotImplementedError
