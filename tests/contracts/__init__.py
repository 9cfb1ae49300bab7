"""What every network keeps, whatever its zoo."""
