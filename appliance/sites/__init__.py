"""Sites of one organisation: who they are, what each may hold, and how their logs become one."""
