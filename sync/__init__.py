"""The site link: log shipping, leases and destruction receipts between sites; empty until then."""
