-- Keep an invitation or a member; an invitation also gets its uses.
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if KEYS[2] then
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
end
return 1
