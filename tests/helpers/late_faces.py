"""A visual worker with results in an order of chance; apart from the audio ones, whose processes need no pictures."""

import random
import time

from pipeline.faces.speaker_face import FaceWorker


class LateFaceWorker(FaceWorker):
    def __call__(self, parts):
        time.sleep(random.random() / 20)
        return super().__call__(parts)
