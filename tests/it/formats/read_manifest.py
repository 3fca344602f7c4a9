#!/usr/bin/env python3
"""Prints a snapshot's manifest or metadata file as JSON, with fastavro and json only.

read_manifest.py FILE.avro                        a container file: its one record
read_manifest.py FILE.avro --schema-of OTHER.avro a bare datum, by the schema of a container file
read_manifest.py FILE.json                        a metadata file

Bytes are printed as base64.
"""

import base64
import io
import json
import sys

import fastavro


def printable(value):
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(type(value))


def read_container(path):
    with open(path, "rb") as file:
        reader = fastavro.reader(file)
        records = list(reader)
    if len(records) != 1:
        sys.exit(f"{path} has {len(records)} records, not one")
    return records[0], reader.writer_schema


def read_datum(path, schema):
    with open(path, "rb") as file:
        stream = io.BytesIO(file.read())
    record = fastavro.schemaless_reader(stream, schema, None)
    if stream.read(1):
        sys.exit(f"{path} has bytes after its end")
    return record


def main(arguments):
    match arguments:
        case [path] if path.endswith(".json"):
            with open(path, encoding="utf-8") as file:
                content = json.load(file)
        case [path]:
            content, _ = read_container(path)
        case [path, "--schema-of", other]:
            content = read_datum(path, read_container(other)[1])
        case _:
            sys.exit(__doc__)
    json.dump(content, sys.stdout, default=printable, indent=2)
    print()


main(sys.argv[1:])
