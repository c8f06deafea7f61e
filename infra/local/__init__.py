"""The embedded stack: everything that Carryout stands on, on one machine and without a set-up."""
