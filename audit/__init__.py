"""What happened, provably: events, the recording transaction, the tree, checkpoints, the verifier."""
