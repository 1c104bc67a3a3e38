"""The floor: errors, settings, database engine, clock, logs, sealing. No domain word lives here."""
