"""Carry out what policy, holds and officers decide: destruction, its ledger and certificates."""
