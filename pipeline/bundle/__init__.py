"""Bundles: a trained run with the encoder, the face network and the settings that its features were made by."""
