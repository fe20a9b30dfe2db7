"""What the workers of the stages call, with results in an order of chance. Imported by worker processes."""

import os
import random
import signal
import time

from pipeline.audio import functionals as sounds
from pipeline.faces import speaker_face

_functionals, _cut_faces = sounds.functionals, speaker_face.cut_faces


def functionals(item):
    time.sleep(random.random() / 20)
    return _functionals(item)


def deadly(item):
    """It dies of one file as by a crash in a decoder, of another as the kernel ends it for want of memory."""
    if item[0].endswith("crash.wav"):
        os._exit(139)
    if item[0].endswith("greedy.wav"):
        os.kill(os.getpid(), signal.SIGKILL)
    return _functionals(item)


def cut_faces(item):
    time.sleep(random.random() / 20)
    return _cut_faces(item)
