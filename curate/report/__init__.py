"""What a run did, in numbers."""
