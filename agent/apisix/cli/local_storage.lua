-- The saved configuration, for scripts that run before APISIX does.

local _M = {}

-- Whether the APISIX in the folder `home` has one.
function _M.exists(home)
    local file = io.open(home .. "/conf/apisix.data", "rb")
    if not file then
        return false
    end
    local has_text = file:read(1) ~= nil
    file:close()
    return has_text
end

return _M
