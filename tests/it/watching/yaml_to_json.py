"""Reads YAML documents from standard input and writes them as one JSON list."""

import json
import sys

import yaml

json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)
