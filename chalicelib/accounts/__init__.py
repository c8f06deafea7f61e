"""Accounts: sign up, sign in, tokens, keys in links, rate limits."""
