"""An application whose tasks do what no task should, or what takes long: run by real workers."""
