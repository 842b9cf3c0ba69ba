"""Results as figures. Reads results only; matplotlib is imported when something is drawn."""
