"""A MongoDB-protocol server for tests: mongomock answers, this file speaks the wire protocol.

``python mongo_server.py PORT [--password SECRET] [--delay SECONDS] [--journal FILE] [--clock SECONDS]`` serves on
127.0.0.1 until it is ended. Everything is in memory and one command runs at a time, so that find-and-modify is atomic
between processes, as with MongoDB. With ``--journal`` every change is written to a file first, and made again when the
server starts anew: what was acknowledged survives kill -9. ``--clock`` puts its clock ahead.
Only what pymongo, maggma, GridFS and FireWorks send is understood (OP_MSG, and the old OP_QUERY for the first hello).
With ``--password`` every log-in is refused but the one of user ``tester`` with that password (SCRAM-SHA-256).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import itertools
import os
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bson
import mongomock_ng
from bson.int64 import Int64
from pymongo.errors import DuplicateKeyError, OperationFailure

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
BATCH, BATCH_BYTES = 101, 12_000_000
USER = "tester"
ITERATIONS = 4096
LARGEST = 16 * 2**20 + 16_384

client = mongomock_ng.MongoClient()
one_at_a_time = threading.RLock()
open_cursors: dict[int, tuple[str, list[dict]]] = {}
cursor_numbers = itertools.count(1)
Reply = dict[str, Any]


def database_names() -> list[str]:
    return [name for name in client.list_database_names() if client[name].list_collection_names()]


def cursor(namespace: str, documents: Any, size: int | None) -> Reply:
    """The first batch of a result, and a cursor for the rest."""
    rest = list(documents)
    number = next(cursor_numbers) if rest else 0
    batch = take(rest, BATCH if size is None else max(size, 1))
    if rest:
        open_cursors[number] = (namespace, rest)
    return {"cursor": {"id": Int64(number if rest else 0), "ns": namespace, "firstBatch": batch}}


def take(documents: list[dict], size: int) -> list[dict]:
    batch, used = [], 0
    while documents and len(batch) < size and used < BATCH_BYTES:
        used += len(bson.encode(documents[0]))
        batch.append(documents.pop(0))
    return batch


def is_replacement(update: Any) -> bool:
    return isinstance(update, dict) and not any(key.startswith("$") for key in update)


def each(requests: list[dict], ordered: bool, do: Callable[[dict, int], None]) -> list[dict]:
    """Do every request; what failed comes back as MongoDB reports it."""
    failed = []
    for index, request in enumerate(requests):
        try:
            check_size(request)
            do(request, index)
        except Exception as error:
            code = getattr(error, "code", None) or (11000 if isinstance(error, DuplicateKeyError) else 2)
            failed.append({"index": index, "code": code, "errmsg": str(error)})
            if ordered:
                break
    return failed


def check_size(request: dict) -> None:
    """Refuse documents over 16 MB, as MongoDB does."""
    if len(bson.encode(request)) > LARGEST:
        raise OperationFailure("BSONObj size is invalid", 10334)


def insert(c: Any, body: dict) -> Reply:
    count = 0

    def one(document: dict, _: int) -> None:
        nonlocal count
        c.insert_one(document)
        count += 1

    failed = each(body["documents"], body.get("ordered", True), one)
    return {"n": count, **({"writeErrors": failed} if failed else {})}


def update(c: Any, body: dict) -> Reply:
    reply: Reply = {"n": 0, "nModified": 0}
    upserted: list[dict] = []

    def one(request: dict, index: int) -> None:
        change, upsert = request["u"], request.get("upsert", False)
        if is_replacement(change):
            done = c.replace_one(request["q"], change, upsert=upsert)
        else:
            done = (c.update_many if request.get("multi") else c.update_one)(request["q"], change, upsert=upsert)
        made = done.upserted_id is not None
        reply["n"] += done.matched_count + made
        reply["nModified"] += done.modified_count or 0
        if made:
            upserted.append({"index": index, "_id": done.upserted_id})

    failed = each(body["updates"], body.get("ordered", True), one)
    return reply | ({"upserted": upserted} if upserted else {}) | ({"writeErrors": failed} if failed else {})


def delete(c: Any, body: dict) -> Reply:
    done = [(c.delete_one if one.get("limit") else c.delete_many)(one["q"]).deleted_count for one in body["deletes"]]
    return {"n": sum(done)}


def find(c: Any, body: dict, namespace: str) -> Reply:
    found = c.find(body.get("filter") or {}, body.get("projection") or None)
    if body.get("sort"):
        found = found.sort(list(body["sort"].items()))
    found = found.skip(body.get("skip") or 0).limit(abs(body.get("limit") or 0))
    return cursor(namespace, found, None if not body.get("singleBatch") else 1 << 30)


def find_and_modify(c: Any, body: dict) -> Reply:
    options: dict[str, Any] = {"projection": body.get("fields")}
    if body.get("sort"):
        options["sort"] = list(body["sort"].items())
    if body.get("remove"):
        value = c.find_one_and_delete(body.get("query") or {}, **options)
    else:
        how = c.find_one_and_replace if is_replacement(body["update"]) else c.find_one_and_update
        options |= {"upsert": body.get("upsert", False), "return_document": bool(body.get("new"))}
        value = how(body.get("query") or {}, body["update"], **options)
    return {"value": value, "lastErrorObject": {"n": int(value is not None), "updatedExisting": value is not None}}


def create_indexes(c: Any, body: dict) -> Reply:
    known = ("unique", "sparse", "name", "expireAfterSeconds", "partialFilterExpression")
    for index in body["indexes"]:
        c.create_index(list(index["key"].items()), **{key: index[key] for key in known if key in index})
    return {"numIndexesAfter": len(body["indexes"])}


def list_indexes(c: Any, namespace: str) -> Reply:
    if c.name not in c.database.list_collection_names():
        raise OperationFailure(f"ns does not exist: {namespace}", 26)
    rows = [{"v": 2, "key": dict(v["key"]), "name": k} for k, v in c.index_information().items()]
    return cursor(namespace, rows, None)


def answer(command: str, body: dict) -> Reply:
    """One command to the database."""
    base = client[body.get("$db", "admin")]
    target = body[command]
    match command.lower():
        case "ping" | "endsessions" | "compact":
            return {}
        case "buildinfo":
            return {"version": "7.0.0", "versionArray": [7, 0, 0, 0]}
        case "killcursors":
            return {"cursorsKilled": [n for n in body["cursors"] if open_cursors.pop(int(n), None)]}
        case "getmore":
            namespace, rest = open_cursors.pop(int(target))
            batch = take(rest, body.get("batchSize") or 1000)
            if rest:
                open_cursors[int(target)] = (namespace, rest)
            return {"cursor": {"id": Int64(target if rest else 0), "ns": namespace, "nextBatch": batch}}
        case "listdatabases":
            return {"databases": [{"name": name, "sizeOnDisk": 0, "empty": False} for name in database_names()]}
        case "listcollections":
            only = (body.get("filter") or {}).get("name")
            names = [n for n in base.list_collection_names() if not isinstance(only, str) or n == only]
            rows = [{"name": n, "type": "collection", "options": {}, "info": {"readOnly": False}} for n in names]
            return cursor(f"{base.name}.$cmd.listCollections", rows, None)
        case "dropdatabase":
            client.drop_database(base.name)
            return {}
    c = base[target]
    namespace = f"{base.name}.{target}"
    match command.lower():
        case "create":
            base.create_collection(target)
            return {}
        case "drop":
            c.drop()
            return {}
        case "insert":
            return insert(c, body)
        case "update":
            return update(c, body)
        case "delete":
            return delete(c, body)
        case "find":
            return find(c, body, namespace)
        case "aggregate":
            return cursor(namespace, c.aggregate(body["pipeline"]), None)
        case "count":
            options = {key: body[key] for key in ("skip", "limit") if body.get(key)}
            return {"n": c.count_documents(body.get("query") or {}, **options)}
        case "distinct":
            return {"values": c.distinct(body["key"], body.get("query") or None)}
        case "findandmodify":
            return find_and_modify(c, body)
        case "createindexes":
            return create_indexes(c, body)
        case "listindexes":
            return list_indexes(c, namespace)
        case "dropindexes":
            return {}
    raise OperationFailure(f"no such command: '{command}'", 59)


class Journal:
    """Commands that change something, as BSON one after the other."""

    CHANGING = frozenset(
        {"insert", "update", "delete", "findandmodify", "create", "drop", "createindexes", "dropdatabase"}
    )

    def __init__(self, file: Path | None) -> None:
        self.sink: Any = None
        if file is not None:
            self.replay(file)
            self.sink = file.open("ab")

    def replay(self, file: Path) -> None:
        data = file.read_bytes() if file.exists() else b""
        place = 0
        while place + 4 <= len(data):
            size = struct.unpack_from("<i", data, place)[0]
            if place + size > len(data):  # cut off while it was written: nobody was told that it is there
                with file.open("r+b") as sink:
                    sink.truncate(place)
                break
            body = bson.decode(data[place : place + size])
            with suppress(Exception):  # what failed the first time fails again
                answer(next(iter(body)), body)
            place += size

    def note(self, command: str, body: dict) -> None:
        if self.sink is not None and command.lower() in self.CHANGING:
            self.sink.write(
                bson.encode({key: value for key, value in body.items() if key not in ("lsid", "$clusterTime")})
            )
            self.sink.flush()


class Scram:
    """The server's side of SCRAM-SHA-256 (RFC 7677) for one connection."""

    def __init__(self, password: str) -> None:
        self.password = password
        self.salt = os.urandom(16)
        self.passed = False

    def start(self, payload: bytes) -> bytes:
        self.bare = payload.decode().split(",", 2)[2]
        fields = dict(part.split("=", 1) for part in self.bare.split(","))
        self.known = fields["n"] == USER
        self.nonce = fields["r"] + base64.b64encode(os.urandom(18)).decode()
        self.first = f"r={self.nonce},s={base64.b64encode(self.salt).decode()},i={ITERATIONS}"
        return self.first.encode()

    def finish(self, payload: bytes) -> bytes:
        without_proof, _, proof = payload.decode().rpartition(",p=")
        message = f"{self.bare},{self.first},{without_proof}".encode()
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), self.salt, ITERATIONS)
        stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
        signature = hmac.digest(stored, message, "sha256")
        key = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True))
        if not self.known or hashlib.sha256(key).digest() != stored:
            raise OperationFailure("Authentication failed.", 18)
        self.passed = True
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        return b"v=" + base64.b64encode(hmac.digest(server_key, message, "sha256"))


class Handler(socketserver.BaseRequestHandler):
    """One connection."""

    password: str | None = None
    delay_s = 0.0
    ahead = timedelta(0)
    journal: Journal

    def setup(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.scram = Scram(self.password or "")

    def handle(self) -> None:
        try:
            while True:
                size, request, _, operation = struct.unpack("<iiii", self.receive(16))
                body = self.receive(size - 16)
                if operation == OP_QUERY:
                    start = body.index(b"\0", 4) + 9
                    reply = self.reply(bson.decode_all(body[start:])[0])
                    data = struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(reply)
                    self.send(request, OP_REPLY, data)
                elif operation == OP_MSG:
                    flags, message = parse(body)
                    reply = self.reply(message)
                    if not flags & 2:
                        self.send(request, OP_MSG, b"\0\0\0\0\0" + bson.encode(reply))
                else:
                    return
        except OSError:
            return

    def receive(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self.request.recv(size - len(data))
            if not part:
                raise ConnectionError
            data += part
        return bytes(data)

    def send(self, request: int, operation: int, data: bytes) -> None:
        self.request.sendall(struct.pack("<iiii", 16 + len(data), 0, request, operation) + data)

    def reply(self, body: dict) -> Reply:
        command = next(iter(body))
        if command.lower() in ("hello", "ismaster"):
            return {
                **dict.fromkeys(("ismaster", "isWritablePrimary", "helloOk"), True),
                "localTime": datetime.now(UTC) + self.ahead,
                "maxBsonObjectSize": 16 * 2**20, "maxMessageSizeBytes": 48_000_000,
                "maxWriteBatchSize": 100_000, "minWireVersion": 0, "maxWireVersion": 21, "readOnly": False,
                **({"saslSupportedMechs": ["SCRAM-SHA-256"]} if "saslSupportedMechs" in body else {}), "ok": 1.0,
            }  # fmt: skip
        time.sleep(self.delay_s)
        try:
            if command == "saslStart":
                return {"conversationId": 1, "done": False, "payload": self.scram.start(body["payload"]), "ok": 1.0}
            if command == "saslContinue":
                return {"conversationId": 1, "done": True, "payload": self.scram.finish(body["payload"]), "ok": 1.0}
            if self.password and not self.scram.passed:
                raise OperationFailure(f"command {command} requires authentication", 13)
            with one_at_a_time:
                self.journal.note(command, body)
                return answer(command, body) | {"ok": 1.0}
        except Exception as error:
            code = getattr(error, "code", None) or (11000 if isinstance(error, DuplicateKeyError) else 8000)
            return {"ok": 0.0, "errmsg": f"{type(error).__name__}: {error}", "code": code}


def parse(body: bytes) -> tuple[int, dict]:
    """The flags and the command of an OP_MSG, its document sequences put in their places."""
    flags = struct.unpack_from("<I", body)[0]
    place, end, message, sequences = 4, len(body) - (4 if flags & 1 else 0), {}, {}
    while place < end:
        kind, place = body[place], place + 1
        size = struct.unpack_from("<i", body, place)[0]
        if kind == 0:
            message = bson.decode(body[place : place + size])
        else:
            stop = body.index(b"\0", place + 4)
            sequences[body[place + 4 : stop].decode()] = bson.decode_all(body[stop + 1 : place + size])
        place += size
    return flags, message | sequences


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("port", type=int)
    arguments.add_argument("--password")
    arguments.add_argument("--delay", type=float, default=0.0)
    arguments.add_argument("--journal", type=Path)
    arguments.add_argument("--clock", type=float, default=0.0)
    given = arguments.parse_args()
    Handler.password, Handler.delay_s = given.password, given.delay
    Handler.journal, Handler.ahead = Journal(given.journal), timedelta(seconds=given.clock)
    with Server(("127.0.0.1", given.port), Handler) as server:
        print("ready", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
