"""Stage 1 of DF-ERC: media -> features. Faulty input raises `dferc.core.errors.InputError` with place and remedy."""
