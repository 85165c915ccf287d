-- Reports of metrics: the text of APISIX's plugin prometheus, cut down to what charts show.

local utils = require("cloud.utils")

local metrics = {}

local FAMILIES = {
    "apisix_http_status", "apisix_http_latency", "apisix_bandwidth",
    "apisix_nginx_http_current_connections",
}

local TIMEOUT_MS = 5000

-- Where the plugin listens by APISIX's configuration.
function metrics.url(conf)
    local attributes = ((conf.plugin_attr or {}).prometheus) or {}
    local address = attributes.export_addr or {}
    return "http://" .. (address.ip or "127.0.0.1") .. ":" .. (address.port or 9091)
        .. (attributes.export_uri or "/apisix/prometheus/metrics")
end

local function is_wanted(line)
    for _, family in ipairs(FAMILIES) do
        if line:sub(1, #family) == family then
            return true
        end
    end
    return false
end

-- The wanted lines in parts of at most `size` bytes; `true` if a line did not fit into any.
function metrics.parts(text, size)
    local parts, lines, bytes, truncated = {}, {}, 0, false
    local function close()
        if #lines > 0 then
            parts[#parts + 1] = table.concat(lines)
        end
        lines, bytes = {}, 0
    end
    for line in text:gmatch("[^\n]+\n?") do
        if is_wanted(line) then
            if #line > size then
                truncated = true
            else
                if bytes + #line > size then
                    close()
                end
                lines[#lines + 1] = line
                bytes = bytes + #line
            end
        end
    end
    close()
    return parts, truncated
end

-- Reports once; `report` has `id`, `domain` and the number of the round.
function metrics.push(settings, headers, report, size)
    local client = require("resty.http").new()
    client:set_timeout(TIMEOUT_MS)
    local res, err = client:request_uri(metrics.url(settings.conf), { method = "GET" })
    if not res then
        return nil, err
    end
    if res.status ~= 200 then
        return nil, "the plugin prometheus answers " .. res.status
    end
    local parts, truncated = metrics.parts(res.body, size)
    for _, part in ipairs(parts) do
        local body = {
            id = report.id, domain = report.domain, round = report.round,
            metrics = part, truncated = truncated,
        }
        local ok, wrong = utils.post(settings, "/api/v1/dp/metrics", headers(), body)
        if not ok then
            return nil, wrong
        end
    end
    return true
end

return metrics
