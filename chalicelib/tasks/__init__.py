"""The kernel: tasks from request to outcome, whatever they do."""
