-- The entries after an offset and the head they lead to, as of one moment. A negative offset counts
-- from the head: -512 is the newest 512.
local head, log, tags, blog = unpack(KEYS)
local after, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local at = redis.call('HMGET', head, 'epoch', 'offset', 'tag', 'floor')
if not at[1] then
  return {}
end
local offset, floor = tonumber(at[2]), tonumber(at[4])
if after < 0 then
  after = math.max(offset + after, floor - 1)
end
local places = {}
for place = math.max(after + 1, floor), math.min(offset, after + most) do
  places[#places + 1] = place
end
local entries, marks = {}, {}
if #places > 0 then
  entries = redis.call('HMGET', log, unpack(places))
  marks = redis.call('HMGET', tags, unpack(places))
end
return {at[1], offset, at[3], floor, after, redis.call('HGET', tags, after), entries, marks,
  redis.call('GET', blog)}
