"""Connections to a MongoDB server: where it is, who asks, and what went wrong, without a password in any text."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pymongo
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pymongo import errors as mongo

from anodeflow.errors import AnodeflowError, InputError, RefusedError, StoreError
from anodeflow.yaml_input import read_yaml, validate

DATABASE_FILE = "database.yaml"
_PASSWORD_VARIABLE = "ANODEFLOW_DB_PASSWORD"  # noqa: S105 - the name of a variable
DATABASE_SCHEMA = 1
META = "anodeflow"
# MongoDB's codes
UNAUTHORIZED, AUTHENTICATION_FAILED, OUT_OF_DISK, TOO_LARGE = 13, 18, 14031, 10334


class DatabaseAway(StoreError):  # noqa: N818 - says what is the case
    """The database does not answer, or not any more: it may do so in a moment."""


_URI = re.compile(r"(mongodb(?:\+srv)?://)(?:([^/?#]*)@)?([^/?#]*)(?:/([^?#]*))?(?:\?(.*))?")
_clients: dict[tuple[Any, ...], Any] = {}


def config_folder() -> Path:
    """Folder of this user's settings."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "anodeflow"


class Database(BaseModel):
    """A database on a MongoDB server, as a file says it. The password is never part of it."""

    model_config = ConfigDict(extra="forbid")

    uri: str = Field(description="mongodb://HOST:PORT or mongodb+srv://HOST, without user and password")
    name: str = Field("anodeflow", pattern=r"^[A-Za-z0-9_-]{1,60}$", description="database on the server")
    user: str | None = None
    auth_source: str = Field("admin", pattern=r"^[A-Za-z0-9_-]{1,60}$", description="database that knows the user")
    password_variable: str = Field(_PASSWORD_VARIABLE, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    password_file: Path | None = Field(None, description="file whose first line is the password")
    timeout_s: float = Field(20.0, gt=0, le=600, description="longest wait for the server")
    _given: str | None = None

    @field_validator("uri")
    @classmethod
    def _of_mongodb(cls, value: str) -> str:
        if _URI.fullmatch(_full_uri(value)) is None:
            raise ValueError("not a MongoDB URI: write mongodb://HOST:PORT or mongodb+srv://HOST")
        return _full_uri(value)

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        match = _URI.fullmatch(self.uri)
        return match.group(3) if match else "?"

    @property
    def place(self) -> str:
        """Host and database, for messages."""
        return f"{self.host}/{self.name}"

    def password(self) -> str | None:
        """The password, from the environment or its file; None where there is no user.

        Raises
        ------
        StoreError
            If there is a user but no password, or others may read its file.
        """
        if self.user is None:
            return None
        if self._given is not None:
            return self._given
        value = os.environ.get(self.password_variable)
        if value:
            return value
        file = (self.password_file or config_folder() / "db-password").expanduser()
        try:
            if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise StoreError(f"others may read the password file {file}", f"chmod 600 {file}")
            text = file.read_text().splitlines()
        except OSError as error:
            raise StoreError(
                f"no password for user '{self.user}' of the database {self.place}: {self.password_variable} is not "
                f"set, and {file}: {error.strerror}",
                f"write the password to that file (chmod 600) or export {self.password_variable}",
            ) from None
        return text[0].strip() if text else ""

    def client_options(self) -> dict[str, Any]:
        """Keywords for `pymongo.MongoClient`, the password among them."""
        milliseconds = int(self.timeout_s * 1000)
        options: dict[str, Any] = {
            "serverSelectionTimeoutMS": milliseconds,
            "connectTimeoutMS": milliseconds,
            "socketTimeoutMS": max(milliseconds, 60_000),
        }
        if self.user is not None:
            options |= {"username": self.user, "password": self.password(), "authSource": self.auth_source}
        return options

    def client(self) -> Any:
        """The client of this process, made on first use; nothing is sent yet.

        Raises
        ------
        StoreError
            If the URI cannot be used, or there is no password.
        """
        options = self.client_options()
        key = (os.getpid(), self.uri, *options.items())  # a client does not survive a fork
        if key not in _clients:
            with server_errors(self):
                try:
                    _clients[key] = pymongo.MongoClient(self.uri, **options)
                except (TypeError, ValueError) as error:
                    raise StoreError(f"the database {self.place} cannot be used: {error}", "check its URI") from None
        return _clients[key]

    def open(self) -> Any:
        """The database, after the server has answered and its schema has been checked.

        Raises
        ------
        StoreError
            If it does not answer, refuses the user, or was written by a newer anodeflow.
        """
        database = self.client()[self.name]
        with server_errors(self):
            schema = database[META].find_one({"_id": "schema"})
        if schema is not None and int(schema["version"]) > DATABASE_SCHEMA:
            raise StoreError(
                f"the database {self.place} has version {schema['version']}, this anodeflow knows version "
                f"{DATABASE_SCHEMA}",
                "update anodeflow (pip install -U anodeflow), here and on the cluster",
            )
        return database

    def clock_difference_s(self) -> float:
        """Seconds by which the server's clock is ahead of this machine's."""
        with server_errors(self):
            there = self.client()["admin"].command("hello")["localTime"]
        return (there.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds()


# Also with the slash that a file path loses, capitals, and blanks before it. A path with a colon: ./name:/rest
_LIKE_URI = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]+):/+")
_LOGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+:/+[^/?#:@\s]*):\S*@")
_LOGIN_OF_ALL = re.compile(r"(\s*[A-Za-z][A-Za-z0-9+.-]+:/+[^/?#:@]*):.*@", re.DOTALL)
_SECRET_OPTION = re.compile(r"([?&;][\w.-]*(?:password|passwd|pwd|secret|token|properties)[\w.-]*=)[^&;\s'\"]*", re.I)


def is_uri(where: str) -> bool:
    """Return whether this looks like the URI of a server, of whatever kind."""
    return _LIKE_URI.match(where) is not None


def _full_uri(text: str) -> str:
    """Return a URI as it is meant: no blanks around it, a scheme in small letters, both slashes."""
    return _LIKE_URI.sub(lambda scheme: f"{scheme[1].lower()}://", text, count=1).strip()


def database_from_uri(uri: str) -> Database:
    """A database from a connection string; a password in it is used, and shown nowhere.

    Raises
    ------
    InputError
        If it is not a MongoDB URI.
    """
    match = _URI.fullmatch(_full_uri(uri))
    if match is None or not match.group(3):
        raise InputError(
            f"'{without_password(uri)}' is not a MongoDB URI",
            "write mongodb://HOST:PORT/DATABASE, or mongodb+srv://HOST/DATABASE",
        )
    scheme, credentials, hosts, name, options = match.groups()
    if "@" in (name or ""):
        raise InputError(
            f"'{without_password(uri)}': user or password hold a character that a URI may not",
            "write them percent-encoded (/ is %2F, ? is %3F, # is %23, @ is %40)",
        )
    data: dict[str, Any] = {"uri": f"{scheme}{hosts}/" + (f"?{options}" if options else "")}
    source = re.search(r"(?:^|&)authSource=([^&]*)", options or "")
    if source:
        data["auth_source"] = source.group(1)
    if name:
        data["name"] = name
    user, _, password = (credentials or "").partition(":")
    if user:
        data["user"] = unquote_plus(user)
    database = validate(Database, data, Path("the URI of the database"))
    if password:
        database._given = unquote_plus(password)
    return database


def without_password(text: str) -> str:
    """Return a text in which no URI shows a password.

    A password may hold any character: all is hidden from the user's colon to the last ``@``.
    """
    login = _LOGIN_OF_ALL if is_uri(text) else _LOGIN
    return _SECRET_OPTION.sub(r"\1***", login.sub(r"\1:***@", text))


def database_file(where: str) -> Path | None:
    """The file that describes a database, if this names one: a YAML file, a cluster folder, or a name in
    ``~/.config/anodeflow/databases/``."""
    path = Path(where).expanduser()
    try:
        if path.suffix in (".yaml", ".yml"):
            return path
        if path.is_dir() and (path / DATABASE_FILE).is_file():
            return path / DATABASE_FILE
    except OSError:
        return None
    named = config_folder() / "databases" / f"{where}.yaml"
    return named if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", where) and named.is_file() else None


def store_place(where: str | os.PathLike[str]) -> str:
    """What another process of this machine must be told to open the same store: a path is made absolute."""
    text = os.fspath(where)
    if is_uri(text):
        return _full_uri(text)
    return os.path.abspath(os.path.expanduser(database_file(text) or text))


def store_shown(where: str | os.PathLike[str]) -> str:
    """A store as a message names it, and as the next command takes it: a URI without its password."""
    text = os.fspath(where)
    return without_password(_full_uri(text)) if is_uri(text) else text


def load_database(where: str | Path) -> Database:
    """A database by its URI, file, cluster folder or name.

    Raises
    ------
    InputError
        If there is none, or its file has a wrong key or value.
    """
    text = str(where)
    if is_uri(text):
        return database_from_uri(text)
    file = database_file(text)
    if file is None:
        raise InputError(
            f"'{without_password(text)}' names no database",
            "give mongodb://HOST:PORT/DATABASE, or the folder of anodeflow hpc init",
        )
    data: dict[str, Any] = read_yaml(file)
    if "@" in str(data.get("uri")):
        raise InputError(
            f"{file}: 'uri' holds a user or password",
            "move the user to 'user' and the password to its own file or the environment",
        )
    return validate(Database, data, file)


@contextmanager
def server_errors(database: Database) -> Iterator[None]:
    """Turn what pymongo raises into a `StoreError`: what, where, and what to do."""
    try:
        yield
    except AnodeflowError:
        raise
    except (mongo.PyMongoError, mongo.InvalidURI) as error:
        raise _explained(error, database) from None


def _explained(error: BaseException, database: Database) -> StoreError:
    where = f"the database {database.place}"
    code = getattr(error, "code", None)
    failed = (getattr(error, "details", None) or {}).get("writeErrors")
    if failed:  # several writes in one message
        code, error = failed[0].get("code"), mongo.OperationFailure(str(failed[0].get("errmsg")))
    if code in (AUTHENTICATION_FAILED, UNAUTHORIZED):
        refused = f"user '{database.user}'" if database.user else "a connection without a user"
        return RefusedError(
            f"{where} refuses {refused}",
            f"check the user, and the password in {database.password_variable} or its file",
        )
    if isinstance(error, mongo.ServerSelectionTimeoutError):
        return DatabaseAway(
            f"{where} does not answer within {database.timeout_s:g} s",
            "check that it runs and that this machine may reach it (anodeflow hpc doctor)",
        )
    if isinstance(error, mongo.ConfigurationError | mongo.InvalidURI):
        return StoreError(f"{where} cannot be used: {without_password(str(error))[:200]}", "check its URI")
    if isinstance(error, mongo.AutoReconnect | mongo.NetworkTimeout):
        kind = DatabaseAway if isinstance(error, mongo.AutoReconnect) else StoreError
        return kind(f"the connection to {where} broke", "try again; if it stays so, ask anodeflow hpc doctor")
    if code == OUT_OF_DISK:
        return StoreError(f"{where} cannot grow: its disk is full", "free space on the server")
    if isinstance(error, mongo.DocumentTooLarge) or code == TOO_LARGE:
        return RefusedError(f"{where} refuses a document over 16 MB", "keep such data in the store 'data'")
    text = " ".join(without_password(str(error)).partition(", full error")[0].split())[:300]
    return StoreError(f"{where} refused: {text}", "see anodeflow hpc doctor")
