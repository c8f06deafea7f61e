"""The system on AWS: two stacks, what checks them, and what deploys them."""
