"""Serve: `python -m todo_chat`, on HOST and PORT."""

import os
import signal
import sys

import uvicorn

# uvicorn finishes its requests, and then lets the signal end the process, with 143. A stop that went well says 0.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

uvicorn.run(
    "todo_chat.app:app",
    host=os.environ.get("HOST", "127.0.0.1"),
    port=int(os.environ.get("PORT", "8000")),
    timeout_graceful_shutdown=25,  # seconds; an orchestrator kills after 30
)
