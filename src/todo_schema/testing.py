"""The fixtures by name, for who keeps pytest from finding plugins: `pytest_plugins = ["todo_schema.testing"]`.

Otherwise pytest finds `pytest_plugin` by itself. Both at once do no harm.
"""

from todo_schema.pytest_plugin import (
    _todo_schema_databases,
    _todo_schema_rolled_back,
    _todo_schema_template,
    todo_schema_prepare,
    todo_schema_session,
    todo_schema_url,
)

__all__ = [
    "_todo_schema_databases",
    "_todo_schema_rolled_back",
    "_todo_schema_template",
    "todo_schema_prepare",
    "todo_schema_session",
    "todo_schema_url",
]
