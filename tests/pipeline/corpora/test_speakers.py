"""Speakers of subtitles: an opening that repeats, in any script and form; several in a cue; what is only reported."""

import random

import pytest

from tests.helpers.own_files import cues, kinds, problems_of, read_subtitles, spoken, write

ONCE = "opening that may name a speaker"


def test_openings_that_occur_once_are_text_and_are_reported(tmp_path):
    names = ["Maria de la Cruz", "李雷", "김민수", "أحمد", "anna"]
    write(
        tmp_path, "a.srt", cues(*(f"{name}: I am happy." for name in names), "王芳：我很高兴。", "Listen: this is bad.")
    )
    corpus = read_subtitles(tmp_path)
    assert {row.speaker for row in corpus.utterances} == {""} and corpus.utterances[4].text == "anna: I am happy."
    (problem,) = problems_of(corpus, ONCE)
    assert problem.startswith("a.srt: ") and "'王芳' (line 22), 'Listen' (line 26); kept as text" in problem
    assert "prepare.options.speaker_prefix" in problem
    assert "speakers named in some cues only" not in kinds(corpus)


def test_names_are_told_from_sentences_by_repetition(tmp_path):
    spoken_by = ["Maria de la Cruz", "李雷", "anna", "Maria de la Cruz", "anna", "李雷"]
    write(tmp_path, "a.srt", cues(*(f"{name}: yes." for name in spoken_by), "Listen: this is bad.", "No."))
    corpus = read_subtitles(tmp_path)
    assert [row.speaker for row in corpus.utterances] == [*spoken_by, "", ""]
    assert corpus.utterances[6].text == "Listen: this is bad."
    assert problems_of(corpus, ONCE)[0].startswith(f"a.srt: {ONCE}: 'Listen' (line 26); kept")
    assert problems_of(corpus, "speakers named in some cues only") == [
        "a.srt: speakers named in some cues only: 6 of 8 utterances; the others have no speaker"
    ]


def test_names_in_brackets_are_speakers_where_half_of_the_cues_have_one(tmp_path):
    write(tmp_path, "a.srt", cues("[Anna] Yes.", "[Bo] No.", "Why?", "[Anna] So.", "Well."))
    corpus = read_subtitles(tmp_path)
    assert spoken(corpus)[:2] == [("Anna", "Yes."), ("", "[Bo] No.")]
    assert problems_of(corpus, ONCE)[0].startswith(f"a.srt: {ONCE}: 'Bo' (line 6); kept as text")


def test_names_with_brackets_in_them_are_speakers(tmp_path):
    """Zoom calls who dials in by the number."""
    names = ["+1 (415) 555-0100", "Bo (he/him) Li", "Anna"]
    write(tmp_path, "a.srt", cues(*(f"{name}: Yes." for name in names * 2), "Well (you know) so: no."))
    assert spoken(read_subtitles(tmp_path)) == [
        *[(name, "Yes.") for name in names * 2],
        ("", "Well (you know) so: no."),
    ]


def test_two_brackets_behind_a_name_are_no_part_of_it(tmp_path):
    """As screenplays write it: the voice of ANNA is no other person."""
    write(tmp_path, "a.srt", cues("ANNA: Hi.", "BO: No.", "ANNA (V.O.) (CONT'D): Yes.", "BO: So?", "ANNA (V.O.): Ah."))
    assert spoken(read_subtitles(tmp_path)) == [
        ("ANNA", "Hi."),
        ("BO", "No."),
        ("ANNA", "Yes."),
        ("BO", "So?"),
        ("ANNA", "Ah."),
    ]


def test_a_name_may_be_declared(tmp_path):
    write(tmp_path, "a.srt", cues("Bo: yes", "Listen: no", "[Cem] well", "李雷：好"))
    declared = read_subtitles(tmp_path, speaker_prefix=["bo", "Cem", "李雷", "Nobody"])
    assert spoken(declared) == [("Bo", "yes"), ("", "Listen: no"), ("Cem", "well"), ("李雷", "好")]
    assert spoken(read_subtitles(tmp_path, speaker_prefix=False)) == [
        *[("", "Bo: yes"), ("", "Listen: no"), ("", "[Cem] well"), ("", "李雷：好")]
    ]


def test_capitals_that_occur_once_are_a_speaker_where_those_that_repeat_are_in_capitals(tmp_path):
    write(tmp_path, "a.srt", cues("ANNA: yes", "BO: no", "ANNA: well", "Listen: no"))
    assert spoken(read_subtitles(tmp_path))[1:] == [("BO", "no"), ("ANNA", "well"), ("", "Listen: no")]
    write(tmp_path, "a.srt", cues("Anna: yes", "WARNING: no", "Anna: well"))
    assert spoken(read_subtitles(tmp_path))[1] == ("", "WARNING: no")
    write(tmp_path, "a.srt", cues("yes", "WARNING: no", "well"))
    assert spoken(read_subtitles(tmp_path))[1] == ("", "WARNING: no")


@pytest.mark.parametrize(
    "form", ["[Anna]: no", "SPEAKER_07: no", "SPEAKER_07|no", "(speaker 7) no", "speaker 7\nno", "Anna (she/her): no"]
)
def test_forms_of_no_text_are_a_speaker_even_once(tmp_path, form):
    write(tmp_path, "a.srt", cues("Why?", form))
    corpus = read_subtitles(tmp_path)
    assert corpus.utterances[1].text == "no" and corpus.utterances[1].speaker in ("Anna", "SPEAKER_07", "speaker 7")
    if "she" in form:
        assert problems_of(corpus, "text beside a speaker's name") == [
            "a.srt, line 6: text beside a speaker's name: '(she/her)'; left out"
        ]


def test_sounds_in_brackets_are_no_speakers(tmp_path):
    texts = ["[laughs] Yes.", "No.", "(sighs) Well.", "[laughs] No.", "What?", "Who?", "[music]", "[music]"]
    write(tmp_path, "a.srt", cues(*texts))
    corpus = read_subtitles(tmp_path)
    assert spoken(corpus) == [("", text) for text in texts]
    assert problems_of(corpus, ONCE)[0].startswith(f"a.srt: {ONCE}: 'laughs' (line 2); kept as text")


@pytest.mark.parametrize(
    ("cue", "turns"),
    [
        ("- Hi there.\n- Hi.", [("", "Hi there."), ("", "Hi.")]),
        ("-Hi.\n–Hi.", [("", "Hi."), ("", "Hi.")]),
        ("- Hi there. - Hello.", [("", "Hi there."), ("", "Hello.")]),
        ("– Nein! – Doch!", [("", "Nein!"), ("", "Doch!")]),
        ("—Sí. —No.", [("", "Sí."), ("", "No.")]),
        ("ANNA: Well- BO: What", [("ANNA", "Well-"), ("BO", "What")]),
        ("ANNA: Ja, BO: Ok", [("ANNA", "Ja,"), ("BO", "Ok")]),
        ("ANNA: Hi.\nBO: Hello.", [("ANNA", "Hi."), ("BO", "Hello.")]),
        ("- ANNA: Hi,\nyou.\n- BO: Hello.", [("ANNA", "Hi, you."), ("BO", "Hello.")]),
        ("ANNA: Hi. BO: Hello.", [("ANNA", "Hi."), ("BO", "Hello.")]),
        ("Hi. BO: Hello! Anna (softly): Hi.", [("", "Hi."), ("BO", "Hello!"), ("ANNA", "Hi.")]),
        (">> Hi. >> Hello.", [("", "Hi."), ("", "Hello.")]),
        (">> ANNA: Hi.\n>> BO: Hello.", [("ANNA", "Hi."), ("BO", "Hello.")]),
        ("Hi. [SPEAKER_TURN] Hello.", [("", "Hi."), ("", "Hello.")]),
        ("<v Anna>Hi.</v>\n<v Bo>Hello.</v>", [("ANNA", "Hi."), ("BO", "Hello.")]),
        ("<v Cem>Hi. <v Dan>Hello.", [("Cem", "Hi."), ("Dan", "Hello.")]),
        ("[Cem]: Hi.\n[Dan]: Hello.", [("Cem", "Hi."), ("Dan", "Hello.")]),
        ("≫Hi.≫Hello.", [("", "Hi."), ("", "Hello.")]),
        ("李雷：你好。王芳：你好！", [("李雷", "你好。"), ("王芳", "你好！")]),
    ],
)
def test_several_speakers_in_a_cue_are_split_and_reported(tmp_path, cue, turns):
    names = ["ANNA: Hi.", "BO: No.", "ANNA: Why?", "BO: So.", "李雷：是。", "王芳：是。", "李雷：不。", "王芳：不。"]
    write(tmp_path, "a.srt", cues(cue, *names))
    write(tmp_path, "a.mp4", b"")
    corpus = read_subtitles(tmp_path)
    parts = [row for row in corpus.utterances if row.utterance_id.startswith("a_1.")]
    assert [(row.speaker, row.text) for row in parts] == turns
    assert [row.utterance_id for row in parts] == [f"a_1.{number}" for number in range(1, len(turns) + 1)]
    assert (parts[0].start_s, parts[-1].end_s) == (1.0, 2.5)
    assert all(one.end_s == two.start_s for one, two in zip(parts, parts[1:]))
    lengths = [len(text) for _, text in turns]
    assert [row.end_s - row.start_s for row in parts] == [
        pytest.approx(1.5 * length / sum(lengths), abs=2e-3) for length in lengths
    ]
    (problem,) = problems_of(corpus, "several speakers in one cue")
    assert problem.startswith("a.srt, line 2: ") and "split; times divided by the lengths of the texts" in problem


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x0b", "\x0c", "\x85"])
def test_every_line_end_of_unicode_ends_a_line_within_a_cue(tmp_path, end):
    """Word's and Premiere's line breaks (pysrt#87); a cue may begin with one."""
    write(tmp_path, "a.srt", cues(f"{end}ANNA: hi there{end}BO: hello", f"- Yes{end}- No", "ANNA: So.", "BO: So."))
    assert spoken(read_subtitles(tmp_path))[:4] == [("ANNA", "hi there"), ("BO", "hello"), ("", "Yes"), ("", "No")]


@pytest.mark.parametrize(
    ("one", "two", "colon", "first", "second"),
    [
        ("أحمد", "سارة", ":", "كيف حالك؟", "بخير۔"),
        ("अनिता", "राम", ":", "नमस्ते।", "नमस्ते।"),
        ("አበበ", "ሰላም", "፦", "ጤና ይስጥልኝ።", "እሺ።"),
        ("សុខា", "បូរ", "៖", "សួស្តី។", "បាទ។"),
        ("Աննա", "Արամ", ":", "Բարեւ։", "Այո։"),
        ("アンナ", "ボー", "：", "「こんにちは」", "「はい」"),
        ("ANNA", "BO", ":", "Il dit « oui »", "Oui."),
    ],
)
def test_several_speakers_in_a_cue_are_split_in_any_script(tmp_path, one, two, colon, first, second):
    by = [f"{name}{colon} {text}" for name, text in ((one, first), (two, second)) * 2]
    write(tmp_path, "a.srt", cues(" ".join(by[:2]), f"- {first} - {second}", *by))
    corpus = read_subtitles(tmp_path)
    turns = [(one, first), (two, second)]
    assert spoken(corpus) == [*turns, ("", first), ("", second), *turns, *turns]
    assert len(problems_of(corpus, "several speakers in one cue")) == 2


@pytest.mark.parametrize(
    "cue",
    [
        "- Hi,\nyou.",
        "ANNA: Hi.\nANNA: You.",
        ">> Hi.",
        "- It is late. Minus - 5 - degrees.",
        "Wait. - As always.",
        "One: two, three.",
        "Hi. [SPEAKER_TURN]",
        "At 5: no.\nAt 6: yes.",
    ],
)
def test_one_speaker_is_not_split(tmp_path, cue):
    write(tmp_path, "a.srt", cues(cue, "ANNA: Hi.", "ANNA: Why?"))
    corpus = read_subtitles(tmp_path)
    assert len(corpus.utterances) == 3 and "several speakers in one cue" not in kinds(corpus)


@pytest.mark.parametrize(
    "text",
    ["«Титаник» — это классика.", "Он сказал «да» - и ушёл.", "It’s a “no” – she said.", "„Titanic” – świetny film."],
)
def test_a_dash_behind_a_quotation_within_a_sentence_is_no_turn(tmp_path, text):
    write(tmp_path, "a.srt", cues(f"- {text}", f"- Что?\n- {text}"))
    assert spoken(read_subtitles(tmp_path)) == [("", text), ("", "Что?"), ("", text)]


def test_a_name_within_a_text_is_reported_and_not_split(tmp_path):
    """Speech recognition without punctuation; "I told Bo: no" looks alike."""
    write(tmp_path, "a.srt", cues("ANNA: hi there BO: hello", "BO: at 10:30 on bo", "ANNA: He said: no", "BO: So."))
    corpus = read_subtitles(tmp_path)
    assert len(corpus.utterances) == 4 and corpus.utterances[0].text == "hi there BO: hello"
    assert problems_of(corpus, "speaker's name within a text") == [
        "a.srt, line 2: speaker's name within a text: 'BO': another speaker?; kept as one utterance"
    ]


def test_a_single_dash_within_a_cue_is_reported_and_not_split(tmp_path):
    write(tmp_path, "a.srt", cues("He is late\n- as always.", "It is\n-5 degrees."))
    corpus = read_subtitles(tmp_path)
    assert [row.text for row in corpus.utterances] == ["He is late as always.", "It is -5 degrees."]
    assert problems_of(corpus, "line that begins with a dash") == [
        "a.srt, line 2: line that begins with a dash: another speaker?; kept as one utterance"
    ]


def test_spellings_of_a_name_are_one_speaker(tmp_path):
    write(tmp_path, "a.srt", cues("E\u0301mile: a", "Émile: b", "ÉMILE : c", "<v émile>d", "Émile  (sighs): e"))
    corpus = read_subtitles(tmp_path)
    assert {row.speaker for row in corpus.utterances} == {"E\u0301mile"}
    assert len(problems_of(corpus, "spellings of one speaker")) == 1


def test_a_name_alone_is_text(tmp_path):
    write(tmp_path, "a.srt", cues("ANNA: Hi.", "ANNA:", "ANNA: Bye.\nBO:"))
    assert spoken(read_subtitles(tmp_path)) == [("ANNA", "Hi."), ("", "ANNA:"), ("ANNA", "Bye. BO:")]


NAMES = [
    "ANNA",
    "anna b.",
    "Dr. Ross",
    "Maria de la Cruz",
    "O'Neil",
    "李雷",
    "김민수",
    "أحمد",
    "अनिता",
    "Спикер №1",
    "S2",
]
FORMS = ["{0}: {1}", "{0} : {1}", "{0}：{1}", "[{0}]: {1}", "- {0}: {1}", ">> {0}: {1}", "<v {0}>{1}", "{0}:\n{1}"]


@pytest.mark.parametrize("seed", range(20))
def test_any_names_in_any_order_are_found_and_nothing_else(tmp_path, seed):
    rng = random.Random(seed)
    names, form = rng.sample(NAMES, 3), rng.choice(FORMS)
    turns = [(names[number % 3], f"word {number}") for number in rng.sample(range(20), 20)]
    texts = [form.format(name, text) for name, text in turns]
    for number in rng.sample(range(20), 4):  # what looks like a name and is there once
        texts[number] = f"x{number}: no"
        turns[number] = ("", texts[number])
    write(tmp_path, "a.srt", cues(*texts))
    corpus = read_subtitles(tmp_path)
    assert spoken(corpus) == turns
    assert len(problems_of(corpus, ONCE)) == 1


@pytest.mark.parametrize("name", ["Jean-Paul", "Smith, Paul", "Anna–Paul"])
def test_a_name_with_a_mark_in_it_is_one_name(tmp_path, name):
    write(
        tmp_path,
        "a.srt",
        cues("Paul: hi there", "Paul: again", f"{name}: bonjour", f"- {name}: bonsoir", "Ask Mary-Paul: no"),
    )
    assert spoken(read_subtitles(tmp_path))[2:] == [(name, "bonjour"), (name, "bonsoir"), ("", "Ask Mary-Paul: no")]


@pytest.mark.parametrize(
    ("names", "speakers", "told"),
    [
        (["Speaker 1", "Speaker 2", "Speaker 1"], ["Speaker 1", "Speaker 2", "Speaker 1"], "they are speakers"),
        (["a-1", "a-2", "a-1", "b"], ["", "", "", ""], "called by their place"),
        (["c-1", "c-3", "c-4"], ["", "", ""], "called by their place"),
    ],
)
def test_names_of_cues_that_come_again_are_speakers_and_others_are_told(tmp_path, names, speakers, told):
    blocks = [f"{name}\n00:0{at}.000 --> 00:0{at}.900\nWell,\nyes." for at, name in enumerate(names)]
    write(tmp_path, "a.vtt", "\n\n".join(["WEBVTT", *blocks]))
    corpus = read_subtitles(tmp_path)
    assert spoken(corpus) == [(name, "Well, yes.") for name in speakers]
    (problem,) = problems_of(corpus, "names of cues")
    assert problem.startswith(f"a.vtt, line 3: names of cues: {len(names)}, first {names[0]!r}; ") and told in problem


def test_a_voice_without_a_name_is_a_dash(tmp_path):
    """Rev's captions (ableplayer#135)."""
    texts = ["<v ->Why?</v>", "<v Anna>Hi.</v>", "<v ???>Yes.</v>\n<v &nbsp;>No.</v>"]
    write(tmp_path, "a.vtt", "WEBVTT\n\n" + cues(*texts).replace(",", "."))
    assert spoken(read_subtitles(tmp_path)) == [("", "Why?"), ("Anna", "Hi."), ("", "Yes."), ("", "No.")]


def test_a_voice_of_signs_is_a_name(tmp_path):
    texts = ["<v \N{FOX FACE}>Hi.</v>", "<v \u2605\u2605>Hello.</v>"]
    write(tmp_path, "a.vtt", "WEBVTT\n\n" + cues(*texts).replace(",", "."))
    assert spoken(read_subtitles(tmp_path)) == [("\N{FOX FACE}", "Hi."), ("\u2605\u2605", "Hello.")]


@pytest.mark.parametrize("dash", "―−－")
def test_a_dash_of_any_kind_is_another_speaker(tmp_path, dash):
    write(tmp_path, "a.srt", cues(f"{dash}Hi, Bo.\n{dash}Hello!", f"{dash} So. {dash} No.", f"{dash}5 degrees"))
    texts = ["Hi, Bo.", "Hello!", "So.", "No.", f"{dash}5 degrees"]
    assert spoken(read_subtitles(tmp_path)) == [("", text) for text in texts]


@pytest.mark.parametrize("tags", [('<font color="#ffff00">', "</font>"), ("<c.yellow>", "</c>")])
def test_several_colours_in_a_cue_are_told(tmp_path, tags):
    """Broadcasters give each speaker a colour."""
    where, there = tags[0] + "Where?" + tags[1], tags[0].replace("ff00", "ffff").replace("yellow", "cyan") + "There."
    write(tmp_path, "a.srt", cues(f"{where}\n{there}{tags[1]}", where))
    corpus = read_subtitles(tmp_path)
    assert spoken(corpus) == [("", "Where? There."), ("", "Where?")]
    (problem,) = problems_of(corpus, "several colours in one cue")
    assert problem.startswith("a.srt, line 2: ") and problem.endswith("several speakers?; kept as one utterance")
