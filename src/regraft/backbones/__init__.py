"""Pre-trained networks: where they come from and how they are cut."""
