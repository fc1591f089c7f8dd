-- Write and announce as an append does, to nobody's harm: whether both are allowed, and taken.
redis.call('HSET', KEYS[1], 'at', redis.call('TIME')[1])
redis.call('EXPIRE', KEYS[1], ARGV[1])
redis.call('SPUBLISH', KEYS[1], '')
return 1
