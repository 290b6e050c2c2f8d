"""No message, representation or frame of ours shows the password of a URL."""

import pickle
from collections.abc import Iterator
from types import FrameType

import pytest
from sqlalchemy import URL

from todo_schema.errors import InvalidUrlError
from todo_schema.urls import DatabaseUrl

PASSWORD = "s3cr3t-Pa55"


def frames_of(error: BaseException | None) -> Iterator[FrameType]:
    if error is not None:
        yield from frames_of(error.__cause__)
        yield from frames_of(error.__context__)
        traceback = error.__traceback__
        while traceback:
            yield traceback.tb_frame
            traceback = traceback.tb_next


@pytest.mark.parametrize(
    "rest",
    [
        f"u:{PASSWORD}@h:x/d",
        f"u:{PASSWORD}@x/y@h/d",
        f"u:{PASSWORD}@h/d?colour=red",
        f"u:x@h/d?password={PASSWORD}",
        f"h/d?password=a&{PASSWORD}=b",
        f"h/d?password=a&{PASSWORD}",
        f"u:{PASSWORD}%00@h/d",
        f"u:{PASSWORD}@h-pooler.x/d?options=-c%20a%3Db",
        f"u:{PASSWORD}@h/d?sslmode=verify-full",
        f"u:{PASSWORD}@h/d?requirepeer=x&sslpassword={PASSWORD}",
        f"u:p@h/d?sslmode=require&sslcert={__file__}&sslpassword={PASSWORD}",
        f"u:p@h/d?sslmode=require&sslcert=/nowhere&sslpassword={PASSWORD}",
    ],
)
def test_no_error_and_no_frame_of_ours_holds_the_password(rest):
    assert_refused_in_secret(f"postgresql://{rest}")


@pytest.mark.parametrize(
    "url",
    [
        URL.create("mysql", "u", PASSWORD, "h"),
        URL.create("postgresql", "u", PASSWORD, "h x"),
        URL.create("postgresql", "u", PASSWORD, "h", query={"colour": "red"}),
        URL.create("postgresql", "u", "x", "h", query={"password": PASSWORD}),
        URL.create("postgresql", "u", PASSWORD, "h", query={"sslmode": "verify-full"}),
    ],
)
def test_no_frame_of_ours_holds_the_password_of_an_object(url):
    assert_refused_in_secret(url)


def assert_refused_in_secret(url: str | URL) -> None:
    with pytest.raises(InvalidUrlError) as caught:
        DatabaseUrl.parse(url).connect_arguments("asyncpg")
    assert PASSWORD not in f"{caught.value} {caught.value!r}"
    ours = [frame for frame in frames_of(caught.value) if "/todo_schema/" in frame.f_code.co_filename]
    assert ours
    for frame in ours:
        assert PASSWORD not in repr(frame.f_locals)
        held = [value for value in frame.f_locals.values() if isinstance(value, str | URL)]
        assert not [value for value in held if PASSWORD in form_text(value)]


def form_text(value: str | URL) -> str:
    return value if isinstance(value, str) else value.render_as_string(hide_password=False)


def test_str_and_repr_mask_the_password_and_can_be_parsed_again():
    url = DatabaseUrl.parse(
        f"postgresql://a%2Fn:{PASSWORD}@[::1]:1,%2Frun%2Fpg/My%20Db%25?sslpassword={PASSWORD}&options=-c+a%3Db"
    )
    assert PASSWORD not in str(url) + repr(url) + repr(vars(url)) + repr(url.sqlalchemy_url("psycopg"))
    again = DatabaseUrl.parse(str(url))
    assert str(again) == str(url)
    assert (again.hosts, again.username, again.database) == (url.hosts, "a/n", "My Db%")
    assert pickle.loads(pickle.dumps(url)) == url
    assert hash(pickle.loads(pickle.dumps(url))) == hash(url)
    assert again != url, "the password is not three stars"
