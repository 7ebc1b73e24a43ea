"""Log, vault, ledger and views on an ordered key-value engine; knows no other room."""
