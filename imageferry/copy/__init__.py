"""What is to be copied, and how. ``Ferry`` in ``engine`` is the way in."""
