"""What `run.py` runs on: an S3 server, a real Milvus, the service. Each ends with its process."""

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BINARIES = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "debug"
KEY, SECRET = "test-key", "test-secret"


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def stop(process, seconds=30):
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for_line(path, pattern, process, seconds=120):
    """Waits until a log file holds the pattern; gives its first group."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = re.search(pattern, path.read_text()) if path.exists() else None
        if found:
            return found.group(1)
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"{path.name} never held {pattern!r}:\n{path.read_text()[-3000:]}")


class S3:
    """The S3 server of `examples/s3_server.rs`: objects are files, so bytes can be compared."""

    def __init__(self, directory):
        self.directory = directory / "s3"
        log = directory / "s3.log"
        with open(log, "w") as out:
            arguments = [BINARIES / "examples" / "s3_server", "127.0.0.1:0", self.directory]
            self.process = subprocess.Popen(arguments, stdout=out, stderr=subprocess.STDOUT)
        self.endpoint = wait_for_line(log, r"endpoint=(http://[0-9.:]+)", self.process)

    def url(self, below=""):
        return f"s3://bucket{below}?endpoint={self.endpoint}&region=us-east-1"

    def read(self, key):
        return (self.directory / "bucket" / key).read_bytes()

    def stop(self):
        stop(self.process)


class Milvus:
    """A real Milvus, whose files lie in the bucket below `files/`."""

    def __init__(self, directory, s3):
        from milvus import MilvusServer

        host, port = s3.endpoint.removeprefix("http://").split(":")
        self.port = free_port()
        with socket.socket() as etcd:
            etcd.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                # its embedded etcd takes this port whatever is set
                etcd.bind(("127.0.0.1", 2379))
            except OSError:
                raise RuntimeError("port 2379 is taken: a Milvus or an etcd runs here already") from None
        self.server = MilvusServer()
        config = self.server.config
        self.server.set_base_dir(str(directory / "milvus"))
        for key, value in {
            "proxy_port": self.port,
            "common.storageType": "minio",
            "minio.address": host,
            "minio.port": port,
            "minio.accessKeyID": KEY,
            "minio.secretAccessKey": SECRET,
            "minio.bucketName": "bucket",
            "minio.rootPath": "files",
            "minio.region": "us-east-1",
        }.items():
            config.set(key, value)
        self.server.start()
        self.etcd = "http://127.0.0.1:2379"

    def stop(self):
        self.server.stop()


class Stillframe:
    """The service on the whole bucket, with a private Postgres, and its command line."""

    def __init__(self, directory, storage):
        log = directory / "stillframe.log"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("STILLFRAME_") and k != "DATABASE_URL"}
        environment |= {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
        arguments = [BINARIES / "stillframe", "serve", "--listen", "127.0.0.1:0", "--no-fsync"]
        arguments += ["--data-dir", directory / "stillframe", "--storage", storage]
        with open(log, "w") as out:
            self.process = subprocess.Popen(arguments, stdout=out, stderr=subprocess.STDOUT, env=environment)
        self.url = wait_for_line(log, r"listening.*?(http://127\.0\.0\.1:\d+)", self.process)
        self.environment = environment | {"STILLFRAME_SERVER": self.url}

    def run(self, *arguments):
        """A command with `--json`; gives what it printed."""
        ran = subprocess.run([BINARIES / "stillframe", *arguments, "--json"], env=self.environment, capture_output=True, text=True)
        if ran.returncode != 0:
            raise RuntimeError(f"stillframe {' '.join(arguments)}: exit {ran.returncode}\n{ran.stdout}{ran.stderr}")
        return json.loads(ran.stdout) if ran.stdout.strip() else None

    def get(self, path):
        with urllib.request.urlopen(f"{self.url}{path}") as answer:
            return json.load(answer)

    def stop(self):
        stop(self.process)
