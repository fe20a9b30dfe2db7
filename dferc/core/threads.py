"""Threads that wait without spinning; imported by `dferc.core`, so before any module of ours imports torch.

PyTorch's OpenMP threads spin at barriers. Beside other work on the same cores that makes a step many times slower:
a small convolution net took 12.5 s a step with two threads on two busy cores, and 0.6 s without spinning.
"""

import os

if not os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:  # a user's own choice stays
    os.environ["GOMP_SPINCOUNT"] = "0"  # libgomp reads it once, when it is loaded
