"""The feature store between the stages, features/<corpus>/: rows, files, protocol card, inspection."""
