"""The Lambda deployment package: `make package`.

uv fetches the locked wheels for Lambda's machine, what is never used goes, the runtime's own Python
compiles byte-code in, and the same inputs give the same bytes, whichever Python packs them. Chalice
writes the template; its own packager leaves a wheel out that it cannot place, and says so in
passing.
"""


class PackagingError(Exception):
    """There is no package that could be deployed; the message is for people."""
