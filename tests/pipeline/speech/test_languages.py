"""Warnings about languages that a text encoder does not know."""

import json

import pytest

from pipeline.speech import language_note

ENGLISH = ("roberta-large", "scratch", "sentence-transformers/all-MiniLM-L6-v2", "microsoft/deberta-v3-base")
MANY = ("xlm-roberta-base", "microsoft/mdeberta-v3-base", "intfloat/multilingual-e5-base", "BAAI/bge-m3")


@pytest.mark.parametrize("encoder", ENGLISH)
def test_an_encoder_of_english_warns_of_other_languages(encoder):
    assert "'de'" in language_note("de", ["Guten Morgen"], encoder)
    for language in ("en", "eng", "en-US", "und", ""):
        assert language_note(language, ["Good morning"], encoder) == ""


@pytest.mark.parametrize("encoder", ENGLISH)
@pytest.mark.parametrize(
    ("text", "script"),
    [("你好吗", "cjk"), ("Доброе утро", "cyrillic"), ("صباح الخير", "arabic"), ("좋은 아침", "hangul")],
)
def test_another_script_warns_whatever_the_language(encoder, text, script):
    assert script in language_note("", [text, "OK 12!"], encoder)


def test_a_foreign_word_in_english_does_not():
    assert language_note("en", ["We said доброе утро to everybody in the room"], "roberta-large") == ""


@pytest.mark.parametrize("encoder", MANY)
def test_an_encoder_of_many_languages_warns_of_none(encoder):
    assert language_note("de", ["Guten Morgen"], encoder) == language_note("zh", ["你好吗"], encoder) == ""


@pytest.mark.parametrize(("size", "warns"), [(30_522, True), (128_100, True), (119_547, False), (250_002, False)])
def test_a_folder_is_judged_by_its_vocabulary(tmp_path, size, warns):
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": size}), encoding="utf-8")
    assert bool(language_note("de", [], str(tmp_path))) == warns


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"vocab_size": "many"}'])
def test_a_folder_of_which_nothing_is_known_is_taken_for_english(tmp_path, content):
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    assert language_note("de", [], str(tmp_path))
