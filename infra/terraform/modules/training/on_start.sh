#!/bin/bash
# Run by SageMaker as root at each start of the notebook: stop it when no kernel has worked for an hour.
set -eu
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
