-- JSON as far as the tests need it, in the form of cjson.safe: failures answer nil and why.

local json = {}

local ESCAPES = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

local function codepoint(code)
    if code < 0x80 then
        return string.char(code)
    elseif code < 0x800 then
        return string.char(0xc0 + math.floor(code / 64), 0x80 + code % 64)
    end
    return string.char(0xe0 + math.floor(code / 4096), 0x80 + math.floor(code / 64) % 64,
                       0x80 + code % 64)
end

local value

local function string_at(text, at)
    local parts = {}
    while true do
        local stop = assert(text:find('["\\]', at), "a string without end")
        parts[#parts + 1] = text:sub(at, stop - 1)
        if text:sub(stop, stop) == '"' then
            return table.concat(parts), stop + 1
        end
        local letter = text:sub(stop + 1, stop + 1)
        if letter == "u" then
            parts[#parts + 1] = codepoint(tonumber(text:sub(stop + 2, stop + 5), 16))
            at = stop + 6
        else
            parts[#parts + 1] = ESCAPES[letter] or letter
            at = stop + 2
        end
    end
end

local function skip(text, at)
    return text:find("%S", at) or #text + 1
end

local function members(text, at, close, read)
    at = skip(text, at)
    if text:sub(at, at) == close then
        return at + 1
    end
    while true do
        at = skip(text, read(at))
        local letter = text:sub(at, at)
        if letter == close then
            return at + 1
        end
        assert(letter == ",", "a comma is missing at " .. at)
        at = skip(text, at + 1)
    end
end

function value(text, at)
    at = skip(text, at)
    local letter = text:sub(at, at)
    if letter == '"' then
        return string_at(text, at + 1)
    elseif letter == "{" then
        local object = {}
        return object, members(text, at + 1, "}", function(from)
            local key, rest = string_at(text, from + 1)
            rest = skip(text, rest)
            assert(text:sub(rest, rest) == ":", "a colon is missing at " .. rest)
            object[key], rest = value(text, rest + 1)
            return rest
        end)
    elseif letter == "[" then
        local list = {}
        return list, members(text, at + 1, "]", function(from)
            local item, rest = value(text, from)
            list[#list + 1] = item
            return rest
        end)
    end
    local word = text:match("^[%w%.%+%-]+", at)
    assert(word, "no value at " .. at)
    local words = { ["true"] = true, ["false"] = false }
    if words[word] ~= nil then
        return words[word], at + #word
    end
    return tonumber(word), at + #word
end

function json.decode(text)
    if type(text) ~= "string" then
        return nil, "not a text"
    end
    local ok, result = pcall(function()
        local found, rest = value(text, 1)
        assert(skip(text, rest) > #text, "something follows")
        return found
    end)
    if ok then
        return result
    end
    return nil, result
end

local function quoted(text)
    return '"' .. text:gsub('[%c"\\]', function(letter)
        return string.format("\\u%04x", letter:byte())
    end) .. '"'
end

function json.encode(item)
    if type(item) == "string" then
        return quoted(item)
    elseif type(item) ~= "table" then
        return tostring(item)
    end
    local parts = {}
    if #item > 0 then
        for _, one in ipairs(item) do
            parts[#parts + 1] = json.encode(one)
        end
        return "[" .. table.concat(parts, ",") .. "]"
    end
    for key, one in pairs(item) do
        parts[#parts + 1] = quoted(key) .. ":" .. json.encode(one)
    end
    return "{" .. table.concat(parts, ",") .. "}"
end

return json
