"""The staff client: HTTPS to one pinned authority, keys made here and never sent."""
