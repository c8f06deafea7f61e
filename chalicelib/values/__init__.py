"""Values: field types, paging cursors, languages, sampled values."""
