"""Our tables. `User`, `Conversation`, `Message` and `Task` of the assistant are todo_schema's."""

from peerbridge.models.accounts import Account, Role
from peerbridge.models.auth import AuthSession
from peerbridge.models.therapy import Message, Session

__all__ = ["Account", "AuthSession", "Message", "Role", "Session"]
