"""The last step of `lab up`: context file, ready specs, and what to type next."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from clusterctl.bootstrap.first_server import context_text
from clusterctl.bootstrap.layout import CLIENT_PORT
from clusterctl.lab import plan

APPLY_TIMEOUT_S = 60.0
PKI = ("ca.crt", "admin.crt", "admin.key")


def hand_over(lab: plan.Plan, report: Callable[[str], None]) -> None:
    """Write context.yaml and specs/, and apply them."""
    _write_context(lab)
    specs = lab.directory / "specs"
    specs.mkdir(exist_ok=True)
    (specs / "cluster.yaml").write_text(cluster_spec(lab))
    for node in lab.servers:
        (specs / f"{node.name}.yaml").write_text(server_spec(node))
    # as any user would: with the context file, over the network
    done = subprocess.run(
        [lab.python, "-m", "clusterctl.app", "apply", str(specs)],
        env={**os.environ, "CLUSTERCTL_CONTEXT": str(lab.directory / "context.yaml")},
        cwd=lab.source,
        capture_output=True,
        text=True,
        timeout=APPLY_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise plan.LabError(f"apply of {specs}: {(done.stderr or done.stdout).strip()[-2000:]}")
    report(f"applied {specs}")


def _write_context(lab: plan.Plan) -> None:
    """Copy the administrator's certificate out of the first server, for programs out here."""
    first = lab.servers[0]
    pki = lab.directory / "secrets" / "pki"
    pki.mkdir(exist_ok=True, mode=0o700)
    for name in PKI:
        source = lab.node_directory(first.name) / "clusterctl" / "pki" / name
        descriptor = os.open(pki / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(source.read_bytes())
    endpoints = [f"https://{node.addresses['private']}:{CLIENT_PORT}" for node in lab.servers]
    text = context_text(lab.name, endpoints, Path("secrets/pki"))
    (lab.directory / "context.yaml").write_text(text)


def cluster_spec(lab: plan.Plan) -> str:
    return f"""apiVersion: clusterctl/v1
kind: Cluster
metadata:
  name: {lab.name}
spec:
  networks:
    - {{name: private, cidr: {lab.cidr("private")}, heartbeat: true}}
    - {{name: public, cidr: {lab.cidr("public")}, heartbeat: true}}
  timing:
    profile: {lab.profile}
"""


def server_spec(node: plan.Node) -> str:
    return f"""apiVersion: clusterctl/v1
kind: Server
metadata:
  name: {node.name}
spec:
  addresses:
    private: {node.addresses["private"]}
    public: {node.addresses["public"]}
  fencing:
    levels:
      - type: ipmi
        address: {node.bmc_address}
        port: {plan.BMC_PORT}
        user: {plan.BMC_USER}
        passwordFrom:
          file: /etc/clusterctl/secrets/bmc-{node.name}
        cipherSuite: 3
        guid: {node.bmc_guid}
        timeout: 5s
    afterFence: on
"""


def farewell(lab: plan.Plan, *, detached: bool, bare: bool) -> str:
    """What a person can type now."""
    end = f"clusterctl lab down --dir {lab.directory}" if detached else "Ctrl-C"
    if bare:
        first = lab.servers[0]
        return f"""servers of lab {lab.name} run: {", ".join(node.name for node in lab.servers)}
  export CLUSTERCTL_LAB={lab.directory}
  clusterctl lab exec {first.name} -- clusterctl cluster init {lab.name} --server {first.name} \\
    --address {first.addresses["private"]} --address {first.addresses["public"]} \\
    --private {lab.cidr("private")} --public {lab.cidr("public")}
  end it: {end}"""
    return f"""lab {lab.name} is up: {", ".join(node.name for node in lab.servers)}
  export CLUSTERCTL_CONTEXT={lab.directory}/context.yaml
  export CLUSTERCTL_LAB={lab.directory}
  clusterctl status
  clusterctl lab status
  end it: {end}"""
