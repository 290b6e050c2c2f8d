"""Users: sign up, and be found by an address."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from todo_chat.dependencies import SessionDep
from todo_schema import User, user_by_email

router = APIRouter(prefix="/users", tags=["users"])


class UserIn(BaseModel):
    """Who signs up."""

    model_config = ConfigDict(extra="forbid")

    email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=320)]


class UserOut(BaseModel):
    """A user as clients see one. Not the entity itself: a newer todo_schema may give that more columns."""

    id: UUID
    email: str
    created_at: datetime


@router.post("", status_code=201, response_model=UserOut)
async def sign_up(body: UserIn, session: SessionDep) -> User:
    """Create a user. 409 where the address is taken, in whatever letters."""
    user = User(email=body.email)
    session.add(user)
    await session.commit()
    return user


@router.get("", response_model=UserOut)
async def find(email: str, session: SessionDep) -> User:
    """Find the user who has an address. A real service would not tell just anybody."""
    user = (await session.exec(user_by_email(email))).first()
    if user is None:
        raise HTTPException(404, "nobody has this address")
    return user
