"""The tests. They talk to servers of this machine, whatever proxy leads to the world."""

import os
import sys

from infra.local.plan import EMULATOR_CREDENTIALS, NO_PROXY, PROFILES

os.environ |= dict.fromkeys(NO_PROXY, "127.0.0.1,localhost")
# Whatever they do, it is not done to the AWS account of whoever runs them.
os.environ |= EMULATOR_CREDENTIALS | {"AWS_DEFAULT_REGION": "us-east-1"}
for name in PROFILES & set(os.environ):
    del os.environ[name]
# What one process compiles is kept for all the others that they start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
