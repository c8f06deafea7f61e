"""The formats of rows in an archive: each makes its own of the lines that the database writes."""
