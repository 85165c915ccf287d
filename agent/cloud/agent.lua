-- Heartbeats: this instance lives, and that is the revision it uses. One process speaks for all, the
-- privileged agent, or the first worker while there is none; the others note how far they are.

local json = require("cjson.safe")
local utils = require("cloud.utils")
local cache = require("cloud.file")
local metrics = require("cloud.metrics")

local agent = {}

-- Seconds. How often a process looks whether there is something to do.
local TICK_S = 1
-- Until the control plane says otherwise.
local HEARTBEAT_S = 10
local METRICS_S = 15
local METRICS_BYTES_MAX = 1024 * 1024
-- Silence of the privileged agent after which the first worker speaks.
local SILENCE_S = 15
-- Pause after a heartbeat that did not arrive.
local RETRY_S = 5

local DIRECTORIES = {
    "/routes", "/services", "/upstreams", "/ssls", "/ssl", "/consumers", "/consumer_groups",
    "/global_rules", "/plugin_configs", "/plugin_metadata", "/plugins", "/protos", "/proto",
    "/secrets", "/stream_routes",
}

local state = {
    run_id = nil, told = nil, failing = false, next_beat = 0, interval = HEARTBEAT_S, saved = nil,
    metrics = false, next_metrics = 0, metrics_interval = METRICS_S,
    metrics_size = METRICS_BYTES_MAX, round = 0, resyncs = nil,
    -- Calls that answered heartbeats of this run have told.
    calls = 0,
}
agent.state = state

local function shared()
    return ngx.shared.cloud
end

local function each_directory(visit)
    local config = require("apisix.core").config
    for _, directory in ipairs(DIRECTORIES) do
        local object = config.fetch_created_obj(directory)
        if object then
            visit(object)
        end
    end
end

-- The newest revision this process has taken in, and whether none of its watches complains.
function agent.applied()
    local revision, reachable = 0, true
    each_directory(function(object)
        revision = math.max(revision, tonumber(object.prev_index) or 0)
        reachable = reachable and not object.last_err
    end)
    return revision, reachable
end

-- What all workers have taken in.
local function applied_everywhere(own)
    local least
    for id = 0, ngx.worker.count() - 1 do
        local revision = shared():get("applied:" .. id)
        if revision then
            least = math.min(least or revision, revision)
        end
    end
    return least or own
end

-- Counts a request, from the log phase.
function agent.count_request()
    local dict = shared()
    if dict then
        dict:incr("calls", 1, 0)
    end
end

local function headers()
    local core = require("apisix.core")
    return {
        ["X-APISEVEN-Instance-Id"] = core.id.get(),
        ["X-APISEVEN-Run-Id"] = state.run_id,
    }
end

-- The address this host's name stands for.
local function address(hostname)
    local core = require("apisix.core")
    local ok, found = pcall(function()
        return core.resolver.parse_domain(hostname)
    end)
    return ok and type(found) == "string" and found or "127.0.0.1"
end

local function report(settings, revision, reachable, calls)
    local core = require("apisix.core")
    local hostname = core.utils.gethostname()
    local ports = utils.ports(settings.conf)
    return {
        id = core.id.get(),
        hostname = hostname,
        ip = address(hostname),
        domain = settings.sni or "",
        version = "APISIX/" .. require("apisix.core.version").VERSION,
        api_calls = calls,
        -- What a heartbeat told whose answer was lost is in it again, and is not counted again.
        api_calls_total = state.calls + calls,
        etcd_reachable = reachable,
        config_version = revision,
        -- An empty table would go out as an object.
        ports = #ports > 0 and ports or nil,
    }
end

-- Takes over what the control plane orders.
local function obey(orders)
    state.interval = tonumber(orders.heartbeat_interval) or state.interval
    state.metrics_interval = tonumber(orders.telemetry_collect_interval) or state.metrics_interval
    state.metrics_size = tonumber(orders.max_metrics_size) or state.metrics_size
    state.metrics = type(orders.metrics) == "table" and orders.metrics.enabled == true
    if orders.resync then
        shared():incr("resyncs", 1, 0)
    end
end

-- Keeps what APISIX would be told now, if it is news.
local function save(settings, newest)
    if state.saved == newest then
        return
    end
    local stop = settings.prefix:sub(1, -2) .. string.char(settings.prefix:byte(-1) + 1)
    local range = { key = ngx.encode_base64(settings.prefix), range_end = ngx.encode_base64(stop) }
    local body, err = utils.post(settings, "/v3/kv/range", {}, range)
    if body then
        local ok, wrong = cache.save(body)
        body, err = ok, wrong
    end
    if not body then
        ngx.log(ngx.WARN, "the configuration was not saved: ", err)
        return
    end
    state.saved = newest
end

-- Says once how things are. Answers whether it was heard.
function agent.beat()
    local settings = agent.settings()
    local own, reachable = agent.applied()
    local revision = applied_everywhere(own)
    local calls = shared():get("calls") or 0
    local body, err = utils.post(settings, "/api/v1/dp/instance/heartbeat", headers(),
                                 report(settings, revision, reachable, calls))
    local answer = body and json.decode(body)
    if type(answer) ~= "table" or type(answer.payload) ~= "table" then
        state.failing = true
        state.next_beat = ngx.now() + RETRY_S
        ngx.log(ngx.WARN, "a heartbeat did not arrive: ", err or body)
        return false
    end
    state.failing = false
    state.told = revision
    shared():incr("calls", -calls, 0)
    state.calls = state.calls + calls
    obey(answer.payload)
    state.next_beat = ngx.now() + state.interval
    save(settings, answer.payload.config_version)
    return true
end

-- Where the control plane is; read once.
function agent.settings()
    state.settings = state.settings or utils.settings()
    return state.settings
end

local function push_metrics()
    local settings = agent.settings()
    state.next_metrics = ngx.now() + state.metrics_interval
    state.round = state.round + 1
    local about = {
        id = require("apisix.core").id.get(), domain = settings.sni, round = state.round,
    }
    local ok, err = metrics.push(settings, headers, about, state.metrics_size)
    if not ok then
        ngx.log(ngx.WARN, "metrics were not reported: ", err)
    end
end

-- Every process: notes how far it is, and reads everything again when that was ordered.
local function follow()
    local id = ngx.worker.id()
    if id then
        shared():set("applied:" .. id, (agent.applied()), SILENCE_S)
    end
    local resyncs = shared():get("resyncs") or 0
    if state.resyncs and state.resyncs ~= resyncs then
        each_directory(function(object)
            object.need_reload = true
        end)
    end
    state.resyncs = resyncs
end

-- Whether this process speaks for all.
local function is_speaker()
    if require("ngx.process").type() == "privileged agent" then
        shared():set("speaker", true, SILENCE_S)
        return true
    end
    return ngx.worker.id() == 0 and not shared():get("speaker")
        and ngx.now() - state.started > SILENCE_S
end

-- What is due now.
function agent.tick(premature)
    if premature or state.busy then
        return
    end
    state.busy = true
    local ok, err = pcall(function()
        follow()
        if not is_speaker() then
            return
        end
        local now = ngx.now()
        local is_news = applied_everywhere((agent.applied())) ~= state.told
        if now >= state.next_beat or (is_news and not state.failing) then
            agent.beat()
        end
        if state.metrics and now >= state.next_metrics then
            push_metrics()
        end
    end)
    state.busy = false
    if not ok then
        ngx.log(ngx.ERR, "the agent stumbled: ", err)
    end
end

-- Begins in a worker process.
function agent.start()
    if not shared() then
        ngx.log(ngx.ERR, "the agent does not run: nginx_config.http.custom_lua_shared_dict has no `cloud`")
        return
    end
    state.run_id = utils.uuid()
    state.started = ngx.now()
    local ok, err = ngx.timer.every(TICK_S, agent.tick)
    if not ok then
        ngx.log(ngx.ERR, "the agent does not run: ", err)
    end
end

return agent
