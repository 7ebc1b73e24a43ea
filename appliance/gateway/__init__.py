"""Client sessions: the session state machine, fan-out, catch-up and their shell."""
