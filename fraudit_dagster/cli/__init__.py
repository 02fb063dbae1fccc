"""The command ``fraudit``: ``app.py`` has its words, the other modules what they do."""
