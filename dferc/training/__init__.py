"""Runs of the trainer: data on the device, the loop, checkpoints, resumption, sweeps."""
