-- Stand-ins for what OpenResty and APISIX bring along. Requests leave for real, by curl.

local json = require("json")
local settings = assert(loadfile(arg[1]))()

local stage = { phase = "init", time = 1000, logged = {}, timers = {}, objects = {}, process = "worker" }

local LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local function encode_base64(text)
    local out = text:gsub("..?.?", function(part)
        local a, b, c = part:byte(1, 3)
        local number = a * 65536 + (b or 0) * 256 + (c or 0)
        local four = ""
        for shift = 3, 0, -1 do
            local digit = math.floor(number / 64 ^ shift) % 64
            four = four .. LETTERS:sub(digit + 1, digit + 1)
        end
        return four:sub(1, #part + 1) .. ("="):rep(3 - #part)
    end)
    return out
end

local function decode_base64(text)
    local out = text:gsub("=", ""):gsub("..?.?.?", function(part)
        local number = 0
        for index = 1, 4 do
            local digit = index <= #part and LETTERS:find(part:sub(index, index), 1, true) - 1 or 0
            number = number * 64 + digit
        end
        local three = string.char(math.floor(number / 65536), math.floor(number / 256) % 256, number % 256)
        return three:sub(1, #part - 1)
    end)
    return out
end

local function dictionary()
    local values = {}
    return {
        get = function(_, key) return values[key] end,
        set = function(_, key, value) values[key] = value return true end,
        incr = function(_, key, by, start)
            values[key] = (values[key] or start) + by
            return values[key]
        end,
    }
end

ngx = {
    WARN = "warn", ERR = "error",
    log = function(level, ...)
        local parts = {}
        for index = 1, select("#", ...) do
            parts[index] = tostring((select(index, ...)))
        end
        stage.logged[#stage.logged + 1] = level .. ": " .. table.concat(parts)
    end,
    now = function() return stage.time end,
    get_phase = function() return stage.phase end,
    encode_base64 = encode_base64,
    decode_base64 = decode_base64,
    config = { prefix = function() return settings.home end },
    shared = { cloud = dictionary() },
    worker = {
        id = function() return stage.process == "worker" and 0 or nil end,
        count = function() return 1 end,
        pid = function() return 4711 end,
    },
    timer = {
        every = function(_, callback)
            stage.timers[#stage.timers + 1] = callback
            return true
        end,
    },
}

local function write(path, text)
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
end

local function read(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read("*a")
    file:close()
    return text
end

-- LuaJIT's foreign functions, as far as the agent uses them: what is created has the mask's rights.
local mask, open = 18, io.open
-- What is left of reading and writing, by the digit of a mask.
local RIGHTS = { [0] = 6, [2] = 4, [7] = 0 }

local function umask(new)
    local before = mask
    mask = new
    return before
end

io.open = function(path, mode)
    local found = open(path, "rb")
    local file, err = open(path, mode)
    if file and not found then
        local group, others = RIGHTS[math.floor(mask / 8) % 8], RIGHTS[mask % 8]
        os.execute(("chmod 6%d%d '%s'"):format(group, others, path))
    elseif found then
        found:close()
    end
    return file, err
end

package.preload.ffi = function()
    return { cdef = function() end, C = { umask = umask } }
end

-- lua-resty-http as the agent uses it.
local function request_uri(_, url, options)
    local sent, got = settings.home .. "sent", settings.home .. "got"
    write(sent, options.body or "")
    local words = { "curl -sS -m 5 -X", options.method, "-o", got, "-w '%{http_code}'" }
    for name, content in pairs(options.headers or {}) do
        words[#words + 1] = "-H '" .. name .. ": " .. content .. "'"
    end
    if options.body then
        words[#words + 1] = "--data-binary @" .. sent
    end
    if url:sub(1, 6) == "https:" then
        words[#words + 1] = "--cacert " .. settings.ca
        if options.ssl_cert_path then
            words[#words + 1] = "--cert " .. options.ssl_cert_path .. " --key " .. options.ssl_key_path
        end
    end
    words[#words + 1] = "'" .. url .. "' 2>" .. settings.home .. "complaint"
    local pipe = io.popen(table.concat(words, " "))
    local status = tonumber(pipe:read("*a"))
    pipe:close()
    if not status or status == 0 then
        return nil, (read(settings.home .. "complaint"):gsub("%s+$", ""))
    end
    return { status = status, body = read(got) }
end

local function http_client()
    return { set_timeout = function() end, request_uri = request_uri }
end

-- lua-resty-etcd as APISIX uses it at its start.
local function etcd_client()
    return {
        readdir = function(_, key)
            local range = { key = encode_base64(key), range_end = encode_base64("/apisiy") }
            local res, err = request_uri(nil, settings.endpoint .. "/v3/kv/range", {
                method = "POST", body = json.encode(range),
                ssl_cert_path = settings.cert, ssl_key_path = settings.key,
            })
            if not res then
                return nil, err
            end
            local body = json.decode(res.body)
            for _, kv in ipairs(body.kvs or {}) do
                local text = decode_base64(kv.value or "")
                kv.key, kv.value = decode_base64(kv.key), json.decode(text) or text
            end
            return { status = res.status, headers = {}, body = body }
        end,
    }
end

local calls = {}
local modules = {
    ["cjson.safe"] = json,
    ["resty.http"] = { new = http_client },
    ["resty.etcd"] = { new = etcd_client },
    ["ngx.process"] = { type = function() return stage.process end },
    apisix = {
        http_init_worker = function() calls.init_worker = true end,
        http_log_phase = function() calls.log = true end,
    },
    ["apisix.core.config_local"] = { local_conf = function() return settings.conf end },
    ["apisix.core.version"] = { VERSION = settings.version },
    ["apisix.core"] = {
        id = { get = function() return settings.id end },
        utils = { gethostname = function() return "edge-1" end },
        resolver = { parse_domain = function() return "10.0.0.7" end },
        config = { fetch_created_obj = function(directory) return stage.objects[directory] end },
    },
}
for name, module in pairs(modules) do
    package.loaded[name] = module
end
stage.calls = calls

-- Runs what timers would.
function stage.tick(seconds)
    stage.time = stage.time + (seconds or 0)
    for _, callback in ipairs(stage.timers) do
        callback(false)
    end
end

-- Starts APISIX up to its workers, with what the master has read; answers its revision and the number
-- of keys.
function stage.start(process)
    require("cloud")
    local res, err = require("resty.etcd").new({}):readdir("/apisix")
    if not res then
        return "nothing: " .. tostring(err)
    end
    stage.phase, stage.process = "init_worker", process
    stage.objects["/routes"] = { prev_index = tonumber(res.body.header.revision) }
    stage.objects["/services"] = { prev_index = 1 }
    require("apisix").http_init_worker()
    stage.phase = "timer"
    return res.body.header.revision .. " " .. #res.body.kvs
end

-- Each line of the input is an expression; its value is a line of the output.
package.path = settings.modules .. "/?.ljbc;" .. package.path
setmetatable(_G, { __index = stage })
for line in io.lines() do
    local chunk = assert(loadstring("return " .. line))
    local ok, result = pcall(chunk)
    if type(result) == "table" then
        result = json.encode(result)
    end
    print((ok and "" or "error: ") .. tostring(result))
    io.stdout:flush()
end
