"""The main story, told line by line against a running service: enrol, use, decide, revoke, refused, prove the trail."""
