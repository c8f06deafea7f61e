"""An archive's own reader: pages that open from a disk, and the data that they show."""
