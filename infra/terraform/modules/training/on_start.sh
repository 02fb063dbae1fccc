#!/bin/bash
# Run by SageMaker as root at each start of the notebook: stop it when no kernel has worked for an hour.
set -eu
cat > /usr/local/bin/stop-when-idle <<'PYTHON'
#!/usr/bin/env python3
"""Stop this notebook instance when Jupyter has been idle for an hour."""
import json
import subprocess
import urllib.request
from datetime import datetime, timezone

with urllib.request.urlopen("http://127.0.0.1:8888/api/status", timeout=10) as answer:
    status = json.load(answer)
last = datetime.fromisoformat(status["last_activity"].replace("Z", "+00:00"))
idle_s = (datetime.now(timezone.utc) - last).total_seconds()
if status["kernels"] == 0 and idle_s > 3600:
    with open("/opt/ml/metadata/resource-metadata.json") as metadata:
        name = json.load(metadata)["ResourceName"]
    subprocess.run(["aws", "sagemaker", "stop-notebook-instance", "--notebook-instance-name", name], check=True)
PYTHON
chmod 755 /usr/local/bin/stop-when-idle
echo '*/10 * * * * root /usr/local/bin/stop-when-idle' > /etc/cron.d/stop-when-idle
