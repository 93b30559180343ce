"""What a person sees of a run: progress, lines, the closing summary."""
