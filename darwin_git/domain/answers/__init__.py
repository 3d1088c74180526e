"""What a model answered, read and applied: exactly, or not at all."""
