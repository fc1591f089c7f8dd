-- A page of posts, the key moments and the head, as of one moment.
local head, blog, posts, order, moments, givers = unpack(KEYS)
local limit, before, moments_most = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local at = redis.call('HMGET', head, 'epoch', 'offset', 'tag')
if not at[1] then
  return {}
end

local function page(set, top, most)
  local ranked = redis.call('ZRANGE', set, top, '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, most, 'WITHSCORES')
  local ids, places = {}, {}
  for i = 1, #ranked, 2 do
    ids[#ids + 1] = ranked[i]
    -- With RESP3 a score is a number, with RESP2 a string.
    places[#places + 1] = tonumber(ranked[i + 1])
  end
  return {#ids > 0 and redis.call('HMGET', posts, unpack(ids)) or {}, places}
end

return {at[1], tonumber(at[2]), at[3], redis.call('GET', blog), page(order, before, limit),
  page(moments, '+inf', moments_most), redis.call('ZCARD', order), redis.call('HLEN', givers)}
