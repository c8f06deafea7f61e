"""What the API and the worker share: the domain, its errors, and the edges to the outside."""
