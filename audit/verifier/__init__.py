"""The stand-alone verifier: standard library only, no storage, nothing of the service. It travels as one file."""
