"""Calling a tool from the command line, inside the sandbox: `python -m tools.call NAME REQUEST.json`.

It prints one JSON object, {"result": ...} or {"error": {field, value, allowed}}, as its last line of
output. Exit status: 0 for a result, 2 for a request that the model can correct, 1 (with a traceback) for a bug.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tools.catalogue import find
from tools.contract import ToolError


def main(arguments: list[str]) -> int:
    try:
        if len(arguments) != 2:
            raise ToolError("arguments", arguments, "usage: python -m tools.call NAME REQUEST.json")
        name, path = arguments
        try:
            request = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise ToolError("request", path, f"not a readable JSON file: {error}") from None
        if not isinstance(request, dict):
            raise ToolError("request", path, "must hold a JSON object")
        print(json.dumps({"result": find(name)(**request).model_dump(mode="json")}))
    except ToolError as error:
        print(json.dumps({"error": error.as_dict()}))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
