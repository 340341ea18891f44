"""Verifies access tokens of tokenhouse offline, and refuses what was revoked.

The signed status list that a token names says within its ttl that it was revoked
(draft-ietf-oauth-status-list). A service makes one verifier at its start:

    verifier = Verifier("https://auth.example.com", audience="https://api.example.com")
    claims = verifier.verify(token)  # or raises Refused

It may be shared between threads.
"""

import base64
import json
import re
import threading
import time
import urllib.request
import zlib

import jwt

ALGORITHMS = {"ES256", "ES384", "EdDSA", "PS256", "RS256"}  # a public key must never be tried as a secret
LEEWAY = 30  # seconds that the clocks of issuer and verifier may differ
MAX_TOKEN = 16 << 10  # bytes
TIMEOUT = 5  # seconds
KEYS_AGE = 300  # seconds that the key set is kept
KEYS_INTERVAL = 5  # seconds between two fetches of it, however many unknown keys are named
LIST_INTERVAL = 1  # seconds between two fetches of one list
MAX_BODY = 2 << 20  # bytes of an answer
MAX_LIST = 1 << 20  # bytes of a list, inflated: eight million tokens
MAX_LISTS = 64


class Refused(Exception):
    """Why a token is not accepted.

    reason is "invalid token", "token expired", "token revoked" (all three: 401) or
    "unavailable" (503: it is no reason to sign anybody out).
    """

    def __init__(self, reason, why):
        super().__init__(f"{reason} ({why})")
        self.reason = reason


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args):
        return None  # the answer is an error then


def fetch(url):
    """Returns what is there: within the timeout, whole, and within the bound."""
    opener = urllib.request.build_opener(NoRedirect)
    deadline, body = time.monotonic() + TIMEOUT, bytearray()
    with opener.open(urllib.request.Request(url, headers={"Accept-Encoding": "identity"}), timeout=TIMEOUT) as res:
        while chunk := res.read1(64 << 10):
            body += chunk
            if len(body) > MAX_BODY or time.monotonic() > deadline:
                raise ValueError("the answer is too long, or takes too long")
    return bytes(body)


class Remote:
    """A document of the issuer's that is kept, and asked for again at intervals."""

    def __init__(self, load, interval):
        self.load, self.interval = load, interval
        self.lock, self.value, self.failed, self.tried = threading.Lock(), None, None, -interval

    def get(self, good):
        """Returns the newest there is; asks for it where the one at hand is not good."""
        with self.lock:  # one fetch, for which everybody waits
            if self.value is None or not good(self.value):
                if time.monotonic() - self.tried >= self.interval:
                    self.tried = time.monotonic()
                    try:
                        self.value, self.failed = self.load(self.value), None
                    except Exception as err:  # whatever it was: there is no newer one
                        self.failed = err
            return self.value


class Verifier:
    """Verifies tokens of one issuer for one audience.

    While status lists cannot be had, a list serves on until it expires; then every
    token is refused, or, with fail_open, accepted unless it was seen revoked.
    """

    def __init__(self, issuer, audience=None, fail_open=False):
        self.issuer, self.audience, self.fail_open = issuer, audience or issuer, fail_open
        self.keys = Remote(self._load_keys, KEYS_INTERVAL)
        self.lists, self.lock = {}, threading.Lock()

    def verify(self, token):
        """Returns the claims of a good token."""
        if len(token) > MAX_TOKEN:
            raise Refused("invalid token", "it is too long")
        try:
            claims = self._decode(token, "at+jwt", ["sub", "exp", "iat", "jti", "org_id", "status"], audience=self.audience)
        except jwt.ExpiredSignatureError as err:
            raise Refused("token expired", err) from err
        except (jwt.InvalidTokenError, ValueError, RecursionError) as err:  # the last: a header of nothing but brackets
            raise Refused("invalid token", err) from err
        if self._revoked(claims["status"]):
            raise Refused("token revoked", "status list")
        return claims

    def _decode(self, compact, typ, require, **expected):
        header = jwt.get_unverified_header(compact)
        if header.get("typ") != typ:  # RFC 9068: an ID token is no access token
            raise jwt.InvalidTokenError(f"its typ is not {typ}")
        kid = header.get("kid")
        since, keys = self.keys.get(lambda known: kid in known[1] and time.time() - known[0] < KEYS_AGE) or (0, {})
        if kid not in keys and (self.keys.failed or not since):
            raise Refused("unavailable", f"key set: {self.keys.failed}")
        if kid not in keys:
            raise jwt.InvalidTokenError("it was signed by no key of the issuer")
        key = keys[kid]  # which decides on the algorithm, not the token (RFC 8725 §3.1)
        return jwt.decode(compact, key, [key.algorithm_name], {"require": ["iss", *require]}, issuer=self.issuer, leeway=LEEWAY, **expected)

    def _load_keys(self, _):
        published = json.loads(fetch(self.issuer + "/.well-known/jwks.json"))["keys"]
        keys = {k["kid"]: jwt.PyJWK(k) for k in published if k.get("alg") in ALGORITHMS and "kid" in k}
        return time.time(), keys

    def _revoked(self, status):
        reference = status.get("status_list") if isinstance(status, dict) else None
        uri, index = (reference.get("uri"), reference.get("idx")) if isinstance(reference, dict) else (None, None)
        # A token must not make us fetch what it likes: only lists of its issuer.
        ours = isinstance(uri, str) and re.fullmatch(re.escape(self.issuer + "/oauth2/status-lists/") + r"[A-Za-z0-9_-]{1,64}", uri)
        if not ours or type(index) is not int or index < 0:
            raise Refused("invalid token", "it names no status list of its issuer")
        with self.lock:
            known = self.lists.setdefault(uri, Remote(lambda old: self._load_list(uri, old), LIST_INTERVAL))
            while len(self.lists) > MAX_LISTS:
                del self.lists[next(iter(self.lists))]
        now = time.time()
        status_list = known.get(lambda s: now < s["until"])
        if not self.fail_open and (status_list is None or now >= status_list["exp"]):
            raise Refused("unavailable", f"status list: {known.failed}")
        if status_list is None:
            return False
        at, shift = divmod(index * status_list["bits"], 8)
        if at >= len(status_list["bytes"]):
            raise Refused("invalid token", "its index is not in its status list")
        return status_list["bytes"][at] >> shift & (1 << status_list["bits"]) - 1 != 0

    def _load_list(self, uri, old):
        claims = self._decode(fetch(uri).decode("ascii"), "statuslist+jwt", ["sub", "iat", "exp", "ttl", "status_list"], subject=uri)
        bits, lst, ttl = claims["status_list"]["bits"], claims["status_list"]["lst"], claims["ttl"]
        if bits not in (1, 2, 4, 8) or not ttl > 0:
            raise ValueError("the status list is malformed")
        inflate = zlib.decompressobj()
        data = inflate.decompress(base64.urlsafe_b64decode(lst + "=" * (-len(lst) % 4)), MAX_LIST + 1)
        if len(data) > MAX_LIST or not inflate.eof:
            raise ValueError("the status list is too large, or cut off")
        if old and old["iat"] > claims["iat"]:
            return old  # a replay
        # The time that is signed counts, not when it arrived: somebody between may have kept it.
        return {"bits": bits, "bytes": data, "iat": claims["iat"], "exp": claims["exp"], "until": min(claims["iat"] + ttl, claims["exp"])}
