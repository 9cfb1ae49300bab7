"""Everything that can be said about a model on labelled pictures, each figure with its doubt."""
