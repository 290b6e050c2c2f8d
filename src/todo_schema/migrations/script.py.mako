<%
    def body(commands):
        lines = [line for line in (commands or "").splitlines() if not line.lstrip().startswith("# ###")]
        return "\n".join(lines).strip() or "pass"
%>"""${message[0].upper() + message[1:]}.

Gain: what people gain.
Locks: what it locks or rewrites, and for how long.
Older packages: what they see.
Going back: what it loses.
"""

import sqlalchemy as sa
from alembic.operations import Operations
${imports + "\n" if imports else ""}\

revision = ${'"%s"' % up_revision}
down_revision = ${'"%s"' % down_revision if down_revision else "None"}
% if branch_labels:
branch_labels = ${'"%s"' % branch_labels}
% endif
# Of tables that hold rows: operations.create_index(op, ...) and its like, see docs/writing-revisions.md. A revision may
# also say: ${"" if up_revision.startswith("c") else 'deferred = "what it costs to leave it"; '}builds_on = ("a deferred revision",); def preflight(connection).
% if up_revision.startswith("c"):
requires = ${schema_version}
floor = ${schema_version}
% endif


def upgrade(op: Operations) -> None:
    """Apply it."""
    ${body(upgrades)}


def downgrade(op: Operations) -> None:
    """Undo it exactly."""
    ${body(downgrades)}
