"""What must be told to the world exactly once: emails about exports and about accounts."""
