"""An embedded AWS for one machine."""
