"""Chatting: in the terminal for people, in a pipe for programs, both on the SDK."""
