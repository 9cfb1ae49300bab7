"""Training of what is not frozen, on activations that are computed once."""
