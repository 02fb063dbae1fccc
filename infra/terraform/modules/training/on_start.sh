#!/bin/bash
# Run by SageMaker as root at each start of the notebook, for five minutes at most: what takes longer goes on by itself.
set -eu

# 1. Stop the instance when no kernel has worked for an hour.
cat > /usr/local/bin/stop-when-idle <<'PYTHON'
#!/usr/bin/env python3
"""Stop this notebook instance when Jupyter has been idle for an hour."""
import json
import ssl
import subprocess
import urllib.request
from datetime import datetime, timezone

# Jupyter of this very machine, with a certificate of its own making.
unchecked = ssl._create_unverified_context()
with urllib.request.urlopen("https://localhost:8443/api/status", timeout=10, context=unchecked) as answer:
    status = json.load(answer)
last = datetime.fromisoformat(status["last_activity"].replace("Z", "+00:00"))
idle_s = (datetime.now(timezone.utc) - last).total_seconds()
if status["kernels"] == 0 and idle_s > 3600:
    with open("/opt/ml/metadata/resource-metadata.json") as metadata:
        name = json.load(metadata)["ResourceName"]
    subprocess.run(["aws", "sagemaker", "stop-notebook-instance", "--notebook-instance-name", name], check=True)
PYTHON
chmod 755 /usr/local/bin/stop-when-idle
systemd-run --unit=stop-when-idle --on-calendar='*:0/10' /usr/local/bin/stop-when-idle

# 2. Fetch what `fraudit deploy notebooks` has put there, and make the kernel that it needs. What is not there yet is no reason not to
# start: say `fetch-notebooks` in a terminal of Jupyter then.
cat > /usr/local/bin/fetch-notebooks <<'BASH'
#!/bin/bash
# The notebooks of the last deployment, whole or not at all, to ~/SageMaker/fraudit, and the kernel `fraudit` for them.
# Files of the deployment are overwritten there; others stay.
set -eu
home=/home/ec2-user/SageMaker
target=$home/fraudit
environment=$home/.fraudit-environment
mkdir -p "$target"
fetched=$(mktemp -d "$home/.fetched-XXXXXX")
trap 'rm -rf "$fetched"' EXIT
aws s3 sync --only-show-errors "s3://${bucket}/notebooks/instance/" "$fetched"
(cd "$fetched" && sha256sum --check --strict --quiet SHA256SUMS)
if [ -f "$target/SHA256SUMS" ]; then
  (cd "$target" && cut -c67- SHA256SUMS | xargs -d '\n' rm -f)
fi
cp "$fetched"/* "$target"

if [ ! -x "$environment/bin/python" ]; then
  /home/ec2-user/anaconda3/bin/conda create --yes --quiet --prefix "$environment" python=3.12
fi
# As in the Dockerfile: the lock limits, and the hashes in it are checked.
"$environment/bin/python" -m pip install --quiet --require-hashes --requirement "$target/requirements-uv.lock"
"$environment/bin/python" -m uv pip install --quiet --python "$environment/bin/python" \
  --constraint "$target/requirements.lock" --requirement "$target/requirements.txt"
"$environment/bin/python" -m uv pip install --quiet --python "$environment/bin/python" --no-deps --reinstall "$target"/*.whl
"$environment/bin/python" -m ipykernel install --user --name fraudit
BASH
chmod 755 /usr/local/bin/fetch-notebooks
systemd-run --unit=fetch-notebooks --uid=ec2-user --setenv=HOME=/home/ec2-user /usr/local/bin/fetch-notebooks
