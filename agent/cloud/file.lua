-- The last configuration on disk. When the control plane cannot be reached at a start, APISIX gets
-- that one, as if it came from there.

local ffi = require("ffi")
local json = require("cjson.safe")
local utils = require("cloud.utils")

ffi.cdef("unsigned int umask(unsigned int mask);")

-- Takes every right from everybody but the owner: 077.
local PRIVATE = 63

local file = {}

-- Beside APISIX's own configuration; deployments mount it from outside.
function file.path()
    return ngx.config.prefix() .. "conf/apisix.data"
end

-- Opens a file for writing; if it is new, nobody else can read it. Lua knows no modes.
local function create(path)
    local before = ffi.C.umask(PRIVATE)
    local out, err = io.open(path, "wb")
    ffi.C.umask(before)
    return out, err
end

-- A disk that is full may show only when the file is closed.
local function finish(out, text)
    local ok, wrong = out:write(text)
    local closed, late = out:close()
    if ok and closed then
        return true
    end
    return nil, wrong or late
end

-- Keeps the answer of a range over everything, whole or not at all, if the file can be replaced.
function file.save(text)
    local path = file.path()
    local fresh = path .. ".new"
    local out, err = create(fresh)
    if not out then
        return nil, err
    end
    local ok, wrong = finish(out, text)
    if not ok then
        os.remove(fresh)
        return nil, wrong
    end
    local renamed, why = os.rename(fresh, path)
    if renamed then
        return true
    end
    -- A file that is mounted on its own cannot be replaced, only written over: if the disk is full just
    -- then, what was kept is lost.
    os.remove(fresh)
    local mounted = io.open(path, "wb")
    if not mounted then
        return nil, why
    end
    return finish(mounted, text)
end

-- The answer that was kept, in the form the etcd client of APISIX gives its own; nil if there is none
-- or it is damaged.
function file.load()
    local body = json.decode(utils.read(file.path()) or "")
    if type(body) ~= "table" or type(body.kvs) ~= "table" or type(body.header) ~= "table" then
        return nil
    end
    for _, kv in ipairs(body.kvs) do
        local text = ngx.decode_base64(kv.value or "")
        kv.key = ngx.decode_base64(kv.key)
        kv.value = json.decode(text) or text
    end
    return { status = 200, headers = {}, body = body }
end

-- Puts itself around the etcd client that APISIX makes.
function file.install()
    local etcd = require("resty.etcd")
    local new = etcd.new
    function etcd.new(...)
        local client, err = new(...)
        if not client then
            return client, err
        end
        local readdir = client.readdir
        client.readdir = function(self, key, ...)
            local res, wrong = readdir(self, key, ...)
            local reached = res and res.status == 200
            if reached or ngx.get_phase() ~= "init" then
                return res, wrong
            end
            local kept = file.load()
            if not kept then
                return res, wrong
            end
            ngx.log(ngx.WARN, "the control plane cannot be reached (", wrong or res.status,
                    "): starting with the configuration in ", file.path())
            return kept
        end
        return client, err
    end
end

return file
