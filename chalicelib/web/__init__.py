"""The HTTP edge: Chalice, problem documents, pages."""
