"""Validates Kubernetes manifests on standard input against Kubernetes' own schemas, and nothing unknown in them."""

import sys

import kubernetes_validate
import yaml

count = 0
for document in yaml.safe_load_all(sys.stdin):
    kubernetes_validate.validate(document, "1.31", strict=True)
    count += 1
print(count)
