"""Verifies access tokens of tokenhouse offline and prints what they say.

    python3 -m venv .venv && .venv/bin/pip install -r requirements.txt
    ISSUER=http://localhost:8080 .venv/bin/python verify.py <token.txt

Tokens come on standard input, one a line, because arguments are visible to every
process of the machine. ISSUER is the issuer; AUDIENCE is the audience of this
resource server, the issuer where it is not set; with FAIL_OPEN=yes tokens are
accepted while status lists are out of reach.
"""

import json
import os
import sys

from verifier import Refused, Verifier

issuer = os.environ.get("ISSUER", "http://localhost:8080")
verifier = Verifier(issuer, audience=os.environ.get("AUDIENCE"), fail_open=os.environ.get("FAIL_OPEN") == "yes")
refused = False
for line in sys.stdin:
    try:
        claims = verifier.verify(line.strip())
        # Filter everything by claims["org_id"]; never take an organisation from the request.
        print(json.dumps(claims), flush=True)
    except Refused as why:
        print(f"refused: {why}", file=sys.stderr, flush=True)
        refused = True
sys.exit(refused)
