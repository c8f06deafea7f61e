"""The tests. They talk to servers of this machine, whatever proxy leads to the world."""

import os

from infra.local.plan import NO_PROXY

os.environ |= dict.fromkeys(NO_PROXY, "127.0.0.1,localhost")
