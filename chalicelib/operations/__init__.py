"""What keeps the service going: the reconciler, the backlog, operators' queries."""
