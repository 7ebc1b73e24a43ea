"""People, devices, credentials, roles and invitations: pure decisions and views."""
