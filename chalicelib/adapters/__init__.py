"""The edges to the outside: RQ on Redis, S3, Secrets Manager."""
