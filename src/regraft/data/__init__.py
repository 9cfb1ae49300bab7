"""Pictures in: finding and labelling them, decoding them, and splitting them honestly."""
