"""The archive: a ZIP of many members, written so that a kill costs no more than a part of it."""
