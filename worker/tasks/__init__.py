"""What the tasks do: one function in a module of the same name, registered in `chalicelib`."""
