"""Audio workers with results in an order of chance, or that die. Imported by each of their processes."""

import os
import random
import signal
import time

from pipeline.audio.functionals import AudioWorker


class LateAudioWorker(AudioWorker):
    def __call__(self, item):
        time.sleep(random.random() / 20)
        return super().__call__(item)


class DeadlyAudioWorker(AudioWorker):
    """It dies of one file as by a crash in a decoder, of another as the kernel ends it for want of memory."""

    def __call__(self, item):
        if item[0].endswith("crash.wav"):
            os._exit(139)
        if item[0].endswith("greedy.wav"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(item)
