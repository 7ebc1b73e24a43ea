"""Branches and headquarters: who they are, what each may do, and what travels between them."""
