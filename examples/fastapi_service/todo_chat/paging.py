"""Lists in pages, newest first: a page ends where the next begins, and names that place by a cursor."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import Depends, HTTPException, Query
from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter

Item = TypeVar("Item", bound=BaseModel)

Number = Annotated[int, Field(ge=1, le=2**63 - 1)]  # what PostgreSQL's bigint holds
Limit = Annotated[int, Query(ge=1, le=100, description="How many items a page has at most.")]


class Page(BaseModel, Generic[Item]):
    """A part of a list."""

    items: list[Item]
    next_cursor: str | None = Field(description="The `cursor` of the next page; null on the last one.")


def page(
    shown: type[Item], rows: Sequence[Any], limit: int, place: Callable[[Item], tuple[datetime, UUID | int]]
) -> Page[Item]:
    """Make a page of rows, of which one more than `limit` was asked for: whether there is a next page."""
    items = [shown.model_validate(row, from_attributes=True) for row in rows[:limit]]
    return Page(items=items, next_cursor=_cursor(*place(items[-1])) if len(rows) > limit else None)


def _cursor(at: datetime, key: UUID | int) -> str:
    # All six digits of the second: a cursor of milliseconds would pass over the rows of the same one.
    return urlsafe_b64encode(TypeAdapter(tuple[datetime, UUID | int]).dump_json((at, key))).decode()


def _read_as(kind: Any) -> Callable[[str | None], Any]:
    place = TypeAdapter(tuple[AwareDatetime, kind])

    def read(cursor: Annotated[str | None, Query(description="A page's `next_cursor`.")] = None) -> Any:
        try:
            return None if cursor is None else place.validate_json(urlsafe_b64decode(cursor))
        except ValueError:
            raise HTTPException(422, "not a cursor of this list") from None

    return read


BeforeUuid = Annotated[tuple[datetime, UUID] | None, Depends(_read_as(UUID))]
BeforeNumber = Annotated[tuple[datetime, int] | None, Depends(_read_as(Number))]
