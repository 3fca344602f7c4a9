"""Reads expressions of PromQL from standard input, one JSON text per line; complains about those that are none."""

import json
import sys

import promql_parser

wrong = 0
for line in sys.stdin:
    expression = json.loads(line)
    try:
        promql_parser.parse(expression)
    except ValueError as error:
        wrong += 1
        print(f"{expression}\n    {error}", file=sys.stderr)
sys.exit(1 if wrong else 0)
