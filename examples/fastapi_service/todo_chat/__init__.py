"""A todo-chat service: users, conversations with a history, and tasks, on the tables of todo_schema."""
