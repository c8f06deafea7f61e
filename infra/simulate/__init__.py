"""How the system behaves from a thousand to ten million exports a day, and what that costs.

A simulation by discrete events; `infra/SCALE.md` has its results, and what they mean.
"""
