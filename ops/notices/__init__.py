"""Telling people what they did not ask for: certificates that end, requests that wait, sign-ins from new places, alarms.

What is due becomes a row for each person and way (`outbox`), before anything is sent. A row is claimed by a commit, then
sent, then its end is recorded; one whose sending was interrupted is not sent again, because it may have arrived.
"""
