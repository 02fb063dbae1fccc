"""One typed client per remote thing."""
