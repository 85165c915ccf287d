-- Gantry's agent for stock Apache APISIX 2.15 and 3.x. `lua_module_hook: cloud` loads this before
-- APISIX itself, in the master process: it puts itself around APISIX's phases and changes nothing else.

local cache = require("cloud.file")
-- Before APISIX reads its configuration for the first time.
cache.install()

local apisix = require("apisix")
local agent = require("cloud.agent")

local init_worker = apisix.http_init_worker
function apisix.http_init_worker(...)
    init_worker(...)
    agent.start()
end

local log_phase = apisix.http_log_phase
function apisix.http_log_phase(...)
    agent.count_request()
    return log_phase(...)
end

return agent
