"""Verifies a delivery as a receiver would, by the Standard Webhooks specification, with nothing but the standard library."""

import base64
import hashlib
import hmac
import json
import sys

delivery = json.load(sys.stdin)
secret = base64.b64decode(delivery["secret"].removeprefix("whsec_"))
signed = f'{delivery["id"]}.{delivery["timestamp"]}.{delivery["body"]}'.encode()
wanted = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
versions = [part.split(",", 1) for part in delivery["signature"].split(" ")]
print(any(version == "v1" and hmac.compare_digest(given, wanted) for version, given in versions))
