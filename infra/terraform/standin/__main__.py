"""Serve the stand-in: ``python -m standin FOLDER WHEEL [--foresee]``, with the folder of the modules and the package of the schema.

Prints one line, the value of ``TF_REATTACH_PROVIDERS``, once Terraform may come; then serves until its standard input is closed, so
that it never outlives who has started it.
"""

import argparse
import json
import os
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from tf.gen import grpc_controller_pb2_grpc as controller_rpc
from tf.gen import tfplugin_pb2_grpc as rpc

from standin.provider import Controller, Provider
from standin.schema import read_schema

NAME = "registry.terraform.io/hashicorp/aws"


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(prog="standin", description="A stand-in for the provider hashicorp/aws.")
    parser.add_argument("folder", type=Path, help="of the modules; their types are what is served")
    parser.add_argument("wheel", type=Path, help="of cdktn-provider-aws")
    parser.add_argument("--foresee", action="store_true", help="let a plan have the values that AWS would decide")
    asked = parser.parse_args()
    text = "\n".join(path.read_text() for path in asked.folder.rglob("*.tf"))
    types = {kind: set(re.findall(rf'^{kind} "(aws_\w+)"', text, re.MULTILINE)) for kind in ("resource", "data")}
    schema = read_schema(asked.wheel, types["resource"], types["data"])
    server = grpc.server(ThreadPoolExecutor(8))
    rpc.add_ProviderServicer_to_server(Provider(schema, foresees=asked.foresee), server)
    controller_rpc.add_GRPCControllerServicer_to_server(Controller(), server)
    with tempfile.TemporaryDirectory(prefix="standin-") as folder:
        socket = f"{folder}/socket"
        server.add_insecure_port(f"unix://{socket}")
        server.start()
        address = {"Network": "unix", "String": socket}
        plugin = {"Protocol": "grpc", "ProtocolVersion": 6, "Pid": os.getpid(), "Test": True, "Addr": address}
        print(json.dumps({NAME: plugin}), flush=True)  # noqa: T201 - what the caller waits for
        sys.stdin.read()
        server.stop(None)


if __name__ == "__main__":
    main()
