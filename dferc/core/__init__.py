"""What knows no emotions: terminal, files, devices, the code that decides a value."""

import dferc.core.threads  # noqa: F401 - before torch is imported anywhere

VERSION = "0.1.0"
