"""The door between the stages: features/<corpus>/, its rows, files, protocol card and inspection."""
