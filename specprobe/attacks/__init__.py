"""Attacks on classifiers, inside a norm ball and the box of pixels; each outcome is checked by who asked for it."""
