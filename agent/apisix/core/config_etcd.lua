-- Deployments expect a file of this name, and this folder is searched first: hands over to APISIX's own.

local name = ... or "apisix.core.config_etcd"
local relative = name:gsub("%.", "/")
local here = debug.getinfo(1, "S").source:sub(2)

for template in package.path:gmatch("[^;]+") do
    local path = template:gsub("%?", relative)
    local file = path ~= here and io.open(path, "rb")
    if file then
        file:close()
        return assert(loadfile(path))(name)
    end
end

error("APISIX's own " .. name .. " is not in " .. package.path)
