"""Leaves out two kinds of calls, of which the document says too little.

Bodies with a text of digits where it wants an integer: the service takes these, as docs/clients.md says, and the check of wrong data
would take that for an error. That they are taken is pinned by the unit test of src/api/types.rs.

Queries with an id above 2^63 - 1: their pattern has 19 digits at most, and can't say that. They are refused (422), which the check of
allowed data would take for an error; the unit test of src/domain/id.rs pins the range.
"""

import re
from typing import Any

import schemathesis

DIGITS = re.compile(r"[0-9]{1,19}")
# the names that are integers wherever the document has them
INTEGERS: set[str] = set()


def is_integer(schema: dict[str, Any]) -> bool:
    kinds = schema.get("type", [])
    if "integer" in ([kinds] if isinstance(kinds, str) else kinds) or schema.get("$ref", "").endswith("/Count"):
        return True
    return any(is_integer(choice) for choices in ["oneOf", "anyOf", "allOf"] for choice in schema.get(choices, []))


def has_integer_as_text(value: Any) -> bool:
    if isinstance(value, list):
        return any(has_integer_as_text(item) for item in value)
    if not isinstance(value, dict):
        return False
    texts = (member for name, member in value.items() if name in INTEGERS and isinstance(member, str))
    taken = (DIGITS.fullmatch(text) and int(text) < 2**63 for text in texts)
    return any(taken) or any(has_integer_as_text(member) for member in value.values())


def has_id_out_of_range(query: dict[str, Any]) -> bool:
    return any(isinstance(value, str) and re.fullmatch("[0-9]{19}", value) and int(value) >= 2**63 for value in query.values())


@schemathesis.hook
def before_load_schema(_context: schemathesis.HookContext, raw_schema: dict[str, Any]) -> None:
    schemas = raw_schema["components"]["schemas"].values()
    members = [member for schema in schemas for member in schema.get("properties", {}).items()]
    INTEGERS.update(name for name, schema in members if is_integer(schema))
    INTEGERS.difference_update([name for name, schema in members if not is_integer(schema)])
    assert "orphan_tolerance_seconds" in INTEGERS, INTEGERS


@schemathesis.hook
def filter_case(_context: schemathesis.HookContext, case: schemathesis.Case) -> bool:
    return not has_integer_as_text(case.body) and not has_id_out_of_range(case.query or {})
