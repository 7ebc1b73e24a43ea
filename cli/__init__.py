"""The command line: thin commands over the administration socket, the SDK and the offline store."""
