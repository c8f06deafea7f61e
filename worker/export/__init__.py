"""Rows in, bytes out: the export document and the proof that it is whole."""
