"""Utterances of one medium: their times, texts and speakers, from a transcript or by speech recognition.

>>> found = find_transcript(media)
>>> transcript = read_transcript(found, media, length_s) if found else SpeechRecogniser("small")(media, progress)
>>> transcript = Diarizer("pyannote/speaker-diarization-3.1")(media, transcript)
"""

from pipeline.speech.beside import find_transcript, read_transcript
from pipeline.speech.diarizer import Diarizer
from pipeline.speech.languages import language_note
from pipeline.speech.recogniser import SpeechRecogniser
from pipeline.speech.transcript import Transcript

__all__ = ["Diarizer", "SpeechRecogniser", "Transcript", "find_transcript", "language_note", "read_transcript"]
