-- Take a member out; 0 if there was none.
return redis.call('HDEL', KEYS[1], ARGV[1])
