"""Stage 1 of DF-ERC: media -> features. Faulty input raises `dferc.core.errors.InputError` with place and remedy."""

import dferc.core  # noqa: F401 - sets how threads wait, before torch is imported anywhere
