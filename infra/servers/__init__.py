"""Servers that stand in front of the Chalice app outside AWS."""
