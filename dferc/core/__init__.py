"""Foundations that know nothing of emotions: terminal, files, tables, devices, hashes of code."""

import dferc.core.threads  # noqa: F401 - before torch is imported anywhere

VERSION = "0.1.0"
