"""Several analyses over one model and one data set: what they share is done once."""
