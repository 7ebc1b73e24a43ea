"""Bring a new program in place of the old one, and go back: bundles, versions, snapshots."""
