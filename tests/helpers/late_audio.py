"""Audio workers with results in an order of chance, or that die. Imported by each of their processes."""

import os
import random
import time

from pipeline.audio.functionals import AudioWorker


class LateAudioWorker(AudioWorker):
    def __call__(self, item):
        time.sleep(random.random() / 20)
        return super().__call__(item)


class DeadlyAudioWorker(AudioWorker):
    """It dies of a file as by a crash in a decoder."""

    def __call__(self, item):
        if item[0].endswith("crash.wav"):
            os._exit(139)
        return super().__call__(item)
