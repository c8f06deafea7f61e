"""Codes by which AWS says that a request may succeed later."""

THROTTLED = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "SlowDown",
        "SendingPausedException",
        "LimitExceededException",
    }
)
"""AWS has done nothing and says "later" (AWS SDKs and Tools Reference Guide, retry behavior)."""

INCOMPLETE = "RequestTimeout"
"""What S3 responds, with 400, when the request did not arrive as a whole."""
