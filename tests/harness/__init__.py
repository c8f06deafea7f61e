"""Servers, people, stacks and writers that all kinds of tests use."""
