"""Print credentials with which Cloud Storage is read and written as S3: an AWS profile's `credential_process`.

    python gcs_credentials.py SECRET

Cloud Storage accepts S3's signatures with an HMAC key of a service account. The key lies in Secret Manager, as the JSON
that a `credential_process` prints: {"Version": 1, "AccessKeyId": "...", "SecretAccessKey": "..."}. The machine's own
service account may read that secret, so that no key is in any file. Needs nothing but Python.
"""

import base64
import json
import sys
import urllib.request

METADATA = "http://metadata.google.internal/computeMetadata/v1"
SECRETS = "https://secretmanager.googleapis.com/v1"


def credentials(secret: str) -> str:
    """Return the JSON that the newest version of the secret holds."""
    this_machine = {"Metadata-Flavor": "Google"}
    project = _fetch(f"{METADATA}/project/project-id", this_machine).decode()
    token = json.loads(_fetch(f"{METADATA}/instance/service-accounts/default/token", this_machine))["access_token"]
    url = f"{SECRETS}/projects/{project}/secrets/{secret}/versions/latest:access"
    answer = json.loads(_fetch(url, {"Authorization": f"Bearer {token}"}))
    return base64.b64decode(answer["payload"]["data"]).decode()


def _fetch(url: str, headers: dict[str, str]) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        return answer.read()


if __name__ == "__main__":
    print(credentials(sys.argv[1]))
