"""What Carryout writes to its users, and how it gets there."""
