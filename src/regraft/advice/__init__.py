"""What to freeze, what to drop, what to train: measured on the user's own pictures."""
