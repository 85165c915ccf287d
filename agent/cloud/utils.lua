-- Where the control plane is, how it is asked, and who this instance is.

local json = require("cjson.safe")

local utils = {}

-- Milliseconds; shorter than the time between two heartbeats.
local TIMEOUT_MS = 5000

-- The contents of a file, or nil.
function utils.read(path)
    local file = path and io.open(path, "rb")
    if not file then
        return nil
    end
    local text = file:read("*a")
    file:close()
    return text
end

-- What APISIX's own configuration says. It is merged under `etcd` in every version; those with
-- `deployment` keep a copy there.
function utils.settings()
    local conf = require("apisix.core.config_local").local_conf()
    local etcd = conf.etcd or (conf.deployment or {}).etcd or {}
    local tls = etcd.tls or {}
    local host = etcd.host
    if type(host) == "table" then
        host = host[1]
    end
    local endpoint = (host or ""):gsub("/+$", "")
    return {
        conf = conf,
        endpoint = endpoint,
        prefix = etcd.prefix or "/apisix",
        user = etcd.user,
        password = etcd.password,
        cert = tls.cert,
        key = tls.key,
        sni = tls.sni or endpoint:match("://%[?([^%]/]-)%]?:?%d*$"),
        verify = tls.verify ~= false,
    }
end

-- Clients of newer versions take parsed certificates, older ones paths.
local function client_certificate(settings)
    local ok, ssl = pcall(require, "ngx.ssl")
    local cert, key = utils.read(settings.cert), utils.read(settings.key)
    if not (ok and ssl and cert and key) then
        return nil, nil
    end
    return ssl.parse_pem_cert(cert), ssl.parse_pem_priv_key(key)
end

local function send(settings, path, headers, body)
    local client = require("resty.http").new()
    client:set_timeout(TIMEOUT_MS)
    if settings.cert and not settings.parsed then
        settings.parsed = true
        settings.client_cert, settings.client_key = client_certificate(settings)
    end
    headers["Content-Type"] = "application/json"
    headers["Authorization"] = settings.token
    local res, err = client:request_uri(settings.endpoint .. path, {
        method = "POST",
        headers = headers,
        body = json.encode(body),
        ssl_verify = settings.verify,
        ssl_server_name = settings.sni,
        ssl_cert_path = settings.cert,
        ssl_key_path = settings.key,
        ssl_client_cert = settings.client_cert,
        ssl_client_priv_key = settings.client_key,
    })
    if not res then
        return nil, err
    end
    return res
end

-- A gateway without a certificate signs in by name.
local function sign_in(settings)
    local login = { name = settings.user, password = settings.password }
    settings.token = nil
    local res, err = send(settings, "/v3/auth/authenticate", {}, login)
    local answer = res and json.decode(res.body)
    if not (answer and answer.token) then
        return nil, "signing in failed: " .. (err or res.body)
    end
    settings.token = answer.token
    return true
end

-- Posts `body` as JSON; answers the body of the answer as text, or nil and why.
function utils.post(settings, path, headers, body)
    if settings.user and not settings.token then
        local ok, err = sign_in(settings)
        if not ok then
            return nil, err
        end
    end
    local res, err = send(settings, path, headers, body)
    if not res then
        return nil, err
    end
    if res.status == 401 then
        -- The next attempt signs in anew.
        settings.token = nil
    end
    if res.status ~= 200 then
        return nil, path .. " answered " .. res.status .. ": " .. (res.body or "")
    end
    return res.body
end

-- Random and in the form of a UUID of version 4.
function utils.uuid()
    local source = assert(io.open("/dev/urandom", "rb"))
    local bytes = { source:read(16):byte(1, 16) }
    source:close()
    bytes[7] = 0x40 + bytes[7] % 0x10
    bytes[9] = 0x80 + bytes[9] % 0x40
    local hex = string.format(("%02x"):rep(16), unpack(bytes))
    return (hex:gsub("^(%x%x%x%x%x%x%x%x)(%x%x%x%x)(%x%x%x%x)(%x%x%x%x)", "%1-%2-%3-%4-"))
end

-- All ports that take requests, plain ones first.
function utils.ports(conf)
    local ports, seen = {}, {}
    local function add(listen)
        if type(listen) == "table" then
            if listen.port then
                return add(listen.port)
            end
            for _, one in ipairs(listen) do
                add(one)
            end
            return
        end
        local port = tonumber(listen)
        if port and not seen[port] then
            seen[port] = true
            ports[#ports + 1] = port
        end
    end
    local apisix = conf.apisix or {}
    add(apisix.node_listen)
    local ssl = apisix.ssl or {}
    if ssl.enable ~= false then
        add(ssl.listen)
        add(ssl.listen_port)
    end
    return ports
end

return utils
