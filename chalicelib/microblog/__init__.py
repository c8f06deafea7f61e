"""The application that is exported: the one folder to replace by your own."""
