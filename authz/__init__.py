"""Who may do what: identities, login, the directory, roles, policy, decisions, permits, applications."""
