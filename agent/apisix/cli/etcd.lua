-- Stands in the place of APISIX's own script, which at a start writes directories and ends APISIX when
-- nobody answers. Gantry has all directories, and a gateway has to start without it.

local local_storage = require("apisix.cli.local_storage")

local _M = {}

function _M.init(env)
    local home = env and env.apisix_home or "/usr/local/apisix"
    if not local_storage.exists(home) then
        print("There is no saved configuration yet: the first start needs the control plane.")
    end
    return true
end

return _M
