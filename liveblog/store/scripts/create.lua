-- Begin a blog with an empty log, unless there is another of that slug.
local head, blog, tags = unpack(KEYS)
local epoch, body = unpack(ARGV)
local stands = redis.call('HGET', head, 'epoch')
if stands then
  return stands == epoch and 1 or 0
end
redis.call('SET', blog, body)
redis.call('HSET', head, 'epoch', epoch, 'offset', 0, 'tag', '0', 'floor', 1, 'blog_revision', 1)
redis.call('HSET', tags, 0, '0')
return 1
