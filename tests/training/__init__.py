"""Tests of training: the loop, what is frozen, going on after a stop."""
