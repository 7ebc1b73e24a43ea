"""Move bytes: WebSocket, HTTP and QUIC connections on one port; knows nothing of what they say."""
