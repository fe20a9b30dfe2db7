"""The commands of stage 2; nothing imports them."""
