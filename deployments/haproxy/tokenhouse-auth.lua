-- Asks tokenhouse whether a request may pass, and says who is asking:
--
--   http-request lua.tokenhouse incidents:read    the permission that it takes, several separated by commas
--   http-request lua.tokenhouse any               any good credential
--
-- A request that may not pass is answered as tokenhouse answers: 401, 403, 429 with Retry-After, 400 for two credentials, and 503
-- where it cannot be asked. TOKENHOUSE_VERIFY_URL is where to ask; the address, or a name that HAProxy's resolvers know.

local verify = os.getenv("TOKENHOUSE_VERIFY_URL") or "http://127.0.0.1:8080/api/v1/auth/verify"

-- What of the request tokenhouse looks at.
local asked = { "authorization", "x-api-key", "cookie", "origin", "referer", "sec-fetch-site", "user-agent" }

-- What tokenhouse says of the caller. It always says all of it.
local identity = { "x-auth-user", "x-auth-email", "x-auth-org", "x-auth-key", "x-auth-permissions" }

-- What of a refusal the client is told.
local told = { "content-type", "www-authenticate", "retry-after", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "ratelimit-policy", "ratelimit" }

local function first(values)
  return values and (values[0] or values[1])
end

-- all returns the values of a header as a list that begins at 1.
local function all(values)
  local out = {}
  for i = 0, #values do
    if values[i] then
      out[#out + 1] = values[i]
    end
  end
  return out
end

local function refuse(txn, status, headers, body)
  local reply = txn:reply({ status = status, body = body })
  reply:add_header("cache-control", "no-store")
  for _, name in ipairs(told) do
    local value = headers and first(headers[name])
    if value then
      reply:add_header(name, value)
    end
  end
  txn:done(reply)
end

local function tokenhouse(txn, permissions)
  local sent = txn.http:req_get_headers()
  local headers = {
    ["x-forwarded-method"] = { txn.f:method() },
    ["x-forwarded-for"] = { tostring(txn.f:src()) },
    ["x-forwarded-proto"] = { txn.f:ssl_fc() == 1 and "https" or "http" },
  }
  for _, name in ipairs(asked) do
    if sent[name] then
      headers[name] = all(sent[name])
    end
  end
  local answer = core.httpclient():get({ url = verify .. "/" .. permissions, headers = headers, timeout = 5000 })
  if not answer or not answer.status or answer.status == 0 or answer.status >= 500 then
    return refuse(txn, 503, answer and answer.headers, "")
  end
  if answer.status ~= 200 then
    return refuse(txn, answer.status, answer.headers, answer.body)
  end
  for _, name in ipairs(identity) do
    txn.http:req_set_header(name, first(answer.headers[name]) or "")
  end
end

core.register_action("tokenhouse", { "http-req" }, tokenhouse, 1)
