"""Posts from files into the database."""
