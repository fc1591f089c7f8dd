-- Take a member out and remember when; 0 if there was none.
local people, removed = unpack(KEYS)
local person, at = unpack(ARGV)
if redis.call('HDEL', people, person) == 0 then
  return 0
end
redis.call('HSET', removed, person, at)
return 1
