"""A language server, asked as an editor asks it."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

CAPABILITIES = {"workspace": {"configuration": True}, "textDocument": {"completion": {}}}


class LanguageServer:
    """A server that speaks the Language Server Protocol over its standard input and output."""

    def __init__(self, process: "subprocess.Popen[bytes]", folder: Path, settings: dict[str, Any]) -> None:
        self._process = process
        self._folder = folder
        self._settings = settings
        self._ids = count(1)
        root = {"rootUri": folder.as_uri(), "workspaceFolders": [{"uri": folder.as_uri(), "name": folder.name}]}
        self._ask("initialize", {"processId": None, "capabilities": CAPABILITIES, **root})
        self._tell("initialized", {})

    def completions(self, code: str) -> list[str]:
        """Return what is offered where a `|` stands in some code, without quotes around keys."""
        before, _, after = code.partition("|")
        document = {"uri": (self._folder / "typed.py").as_uri()}
        self._tell(
            "textDocument/didOpen",
            {"textDocument": {**document, "languageId": "python", "version": 1, "text": before + after}},
        )
        line = before.count("\n")
        position = {"line": line, "character": len(before) - before.rfind("\n") - 1}
        found = self._ask("textDocument/completion", {"textDocument": document, "position": position})
        self._tell("textDocument/didClose", {"textDocument": document})
        items = found["items"] if isinstance(found, dict) else found or []
        return [item["label"].strip("\"'") for item in items]

    def _tell(self, method: str, params: dict[str, Any]) -> None:
        self._send({"method": method, "params": params})

    def _ask(self, method: str, params: dict[str, Any]) -> Any:
        number = next(self._ids)
        self._send({"id": number, "method": method, "params": params})
        while True:
            message = self._receive()
            if "method" not in message and message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            if "method" in message and "id" in message:
                self._send({"id": message["id"], "result": self._answer(message)})

    def _answer(self, message: dict[str, Any]) -> Any:
        """Answer what the server asks an editor: its settings, and nothing else."""
        if message["method"] != "workspace/configuration":
            return None
        return [self._settings.get(item.get("section"), {}) for item in message["params"]["items"]]

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self._process.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        length = 0
        while header := self._process.stdout.readline().strip():
            name, _, value = header.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        message: dict[str, Any] = json.loads(self._process.stdout.read(length))
        return message


@contextmanager
def started(command: list[str], folder: Path, settings: dict[str, Any]) -> Iterator[LanguageServer]:
    """Start a server on a folder, and end it."""
    process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield LanguageServer(process, folder, settings)
    finally:
        process.kill()
        process.communicate()
