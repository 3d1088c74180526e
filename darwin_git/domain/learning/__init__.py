"""What a run learned, as lessons with evidence."""
