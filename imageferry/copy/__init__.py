"""What is to be copied, and how. ``Ferry`` in ``ferry`` is the way in."""
