"""The site link: what travels between sites, in which order, and how."""
