"""Checks that a page lists every method of pymilvus' MilvusClient where it belongs:
python client_methods.py PAGE CALLS UNSERVED

What a method calls is read from pymilvus' source: the methods of the client and of its handler that it goes through,
and the calls of the stub at their ends."""

import ast
import inspect
import re
import sys
import textwrap
from pathlib import Path

from pymilvus import MilvusClient
from pymilvus.client.grpc_handler import GrpcHandler

# their calls are made by an object that they give back
ROWS = {"query_iterator": {"Query"}, "search_iterator": {"Search"}}
WORK, REFUSED, LOCAL = "### Methods that work", "### Methods that are not served", "### Methods that need no server"


def functions(kind):
    members = {name: getattr(kind, name) for name in dir(kind)}
    found = {name: inspect.unwrap(getattr(member, "__func__", member)) for name, member in members.items() if callable(member)}
    return {name: function for name, function in found.items() if inspect.isfunction(function)}


CLIENT, HANDLER = functions(MilvusClient), functions(GrpcHandler)


def uses(function):
    """Names that a function uses of its own object or of a connection, and of the stub."""
    own, stub = set(), set()
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        if not isinstance(node, ast.Attribute):
            continue
        of = node.value
        if isinstance(of, ast.Attribute) and of.attr == "_stub":
            stub.add(node.attr)
        elif isinstance(of, ast.Name) and of.id in ("self", "cls", "conn", "handler"):
            own.add(node.attr)
        elif isinstance(of, ast.Call) and isinstance(of.func, ast.Attribute) and of.func.attr == "_get_connection":
            own.add(node.attr)
    return own, stub


def calls_of(table, name, seen):
    if name not in table or (id(table), name) in seen:
        return set()
    seen.add((id(table), name))
    own, calls = uses(table[name])
    for used in own:
        calls |= calls_of(table, used, seen)
        if table is CLIENT:
            calls |= calls_of(HANDLER, used, seen)
    return calls


def main(page, served, unserved):
    served, unserved = set(served.split(",")), set(unserved.split(","))
    wanted = {WORK: set(), REFUSED: set(), LOCAL: set()}
    for name in CLIENT:
        if name.startswith("_"):
            continue
        calls = calls_of(CLIENT, name, set()) | ROWS.get(name, set())
        strange = calls - served - unserved
        assert not strange, f"{name} calls {strange}"
        wanted[REFUSED if calls & unserved else WORK if calls else LOCAL].add(name)
    assert all(len(names) > 5 for names in wanted.values()), wanted
    text = Path(page).read_text()
    for head, names in wanted.items():
        found = set(re.findall(r"`(\w+)`", text.split(f"{head}\n")[1].split("\n#")[0]))
        assert found == names, f"{head}: missing {sorted(names - found)}, too many {sorted(found - names)}"
    print(f"{sum(map(len, wanted.values()))} methods")


main(*sys.argv[1:])
