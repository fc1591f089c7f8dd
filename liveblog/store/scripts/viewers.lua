-- Renew one process's count of viewers and add up all that are alive.
local viewers = KEYS[1]
local process, count, lease = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local now = tonumber(redis.call('TIME')[1])
if count > 0 then
  redis.call('HSET', viewers, process, count .. ' ' .. (now + lease))
else
  redis.call('HDEL', viewers, process)
end
local sum = 0
local all = redis.call('HGETALL', viewers)
for i = 1, #all, 2 do
  local held, expiry = string.match(all[i + 1], '(%d+) (%d+)')
  if tonumber(expiry) > now then
    sum = sum + tonumber(held)
  else
    redis.call('HDEL', viewers, all[i])
  end
end
redis.call('EXPIRE', viewers, 3600)
return sum
