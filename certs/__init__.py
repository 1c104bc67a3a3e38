"""What certificate bytes mean. Pure: no clock, no stored key, no socket, no query; callers bring bytes and the hour."""
