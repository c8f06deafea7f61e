"""What users bring along: uploads, staged rows, and their publication all at once."""
