"""Features made elsewhere (the field's pickles, .npz, HDF5, Parquet) -> our feature store: `dferc import`."""
