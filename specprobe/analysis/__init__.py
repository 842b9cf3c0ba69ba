"""One question a module: a pure function from a model and images to a frozen, mergeable result."""
