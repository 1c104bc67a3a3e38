"""The floor: errors, settings, database engine, clock, logs, memory, sealing. No domain word lives here."""
