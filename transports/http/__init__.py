"""Serve HTTP/1.1 and HTTP/2 as sans-IO machines: bytes in, bytes out, one router for both."""
