"""fraudit: the composition root and the domain."""
