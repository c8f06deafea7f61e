"""Another application on this one's machinery: people keep notes, and export them.

It is what an adopter puts into `chalicelib/microblog`, and touches no other file.
"""
