"""The authority: keys and signers, registration, issuance, revocation, status. It takes permits and asks nobody for decisions."""
