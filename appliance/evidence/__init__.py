"""Hand records out as evidence: every version, who was there, and the proof of each operation."""
