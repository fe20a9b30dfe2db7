"""Foundations that know nothing of emotions: terminal, files, tables, devices, hashes of code."""

VERSION = "0.1.0"
