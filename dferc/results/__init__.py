"""Results of finished runs: read, compared, tested, tabulated, analysed, drawn and reported."""
