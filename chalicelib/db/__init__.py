"""SQL: the engine, sessions, the database's clock, and the tables."""
