"""Rows that are there before a rule is tripped, and their keys."""

import uuid

NOBODY, *KEYS = (uuid.UUID(int=number) for number in range(6))
ANN, BEN, CHAT, SAID, BENS = KEYS
EXISTING = f"""
INSERT INTO users (id, email) VALUES ('{ANN}', 'ann@example.com'), ('{BEN}', 'ben@example.com');
INSERT INTO conversations (id, user_id) VALUES ('{CHAT}', '{ANN}'), ('{BENS}', '{BEN}');
INSERT INTO messages (id, conversation_id, user_id, role, content) VALUES ('{SAID}', '{CHAT}', '{ANN}', 'user', '');
INSERT INTO tasks (id, user_id, title) VALUES (7, '{ANN}', 'x')"""
