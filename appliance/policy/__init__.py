"""Retention rules, legal holds, approvals and the clock: pure decisions about what may end."""
